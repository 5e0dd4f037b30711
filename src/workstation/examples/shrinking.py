"""A smaller copy of a trained digit network, and nothing is trained: half the channels, or whole numbers of 8 bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

from workstation.examples.cnn import convnet
from workstation.examples.scales import graph

HALF = (16, 32, 32)  # channels; the full network has 32, 64, 64


def narrowed(full: nn.Sequential) -> nn.Sequential:
    """Of each convolution the half of the channels whose weights are largest, and of the next layer what they feed."""
    network = convnet(side=8, widths=HALF)
    inputs = torch.tensor([0])  # the picture has one channel
    for here, there in zip(full, network, strict=True):
        if isinstance(here, nn.Conv2d):
            loudest = here.weight.abs().sum(dim=(1, 2, 3)).topk(there.out_channels).indices.sort().values
            _assign(there, weight=here.weight[loudest][:, inputs], bias=here.bias[loudest])
            inputs = loudest
        elif isinstance(here, nn.BatchNorm2d):
            kept = {name: value[inputs] for name, value in here.state_dict().items() if value.dim()}
            _assign(there, **kept)
        elif isinstance(here, nn.Linear):
            columns = here.weight.unflatten(1, (-1, 4))[:, inputs].flatten(1)  # each channel is 2×2 by now
            _assign(there, weight=columns, bias=here.bias)
    return network.eval()


def quantised(full: nn.Module, pictures: Tensor) -> nn.Module:
    """Weights and activations as int8. `pictures` show how large the activations get; nothing is trained."""
    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    observed = prepare_pt2e(graph(full).module(), quantizer)
    with torch.no_grad():
        observed(pictures)
    network: nn.Module = convert_pt2e(observed)
    return network


def _assign(layer: nn.Module, **values: Tensor) -> None:
    layer.load_state_dict(layer.state_dict() | values)
