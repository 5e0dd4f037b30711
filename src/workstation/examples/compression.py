"""Smaller and faster networks (A2 §2.8, §9.5; claims 36 and 64).

The article names pruning, quantisation and distillation, and measures none. Here each is applied to the digit network
of the CNN chapter, and all are weighed on the same scales: the bytes of the ONNX file, the time of onnxruntime on one
thread, and the accuracy. Zeros alone make nothing faster; whole channels, int8 and a small student do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from workstation.examples.cnn import convnet, learn, move, train
from workstation.examples.datasets import DIGITS, digits, split
from workstation.examples.distillation import Pair, distillation
from workstation.examples.scales import Scales, Weighed
from workstation.examples.shrinking import narrowed, quantised
from workstation.training.batches import Batches
from workstation.training.loop import Hook
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

DATA = str(DIGITS)
PROMISE = "half the channels, int8 and a small student each take at most 0.4 of the bytes, and 2 points of accuracy"
SMALL = (8, 16, 16)  # channels; the full network has 32, 64, 64
ZEROS = 0.8  # the share of weights that pruning sets to zero


@dataclass(frozen=True)
class Result:
    """The full network, then for each way its accuracy and its share of the full network's bytes and time."""

    accuracy: float
    bytes: int
    milliseconds: float
    zeros_accuracy: float
    zeros_bytes: float
    zeros_zipped: float
    zeros_time: float
    half_accuracy: float
    half_bytes: float
    half_time: float
    int8_accuracy: float
    int8_bytes: float
    int8_time: float
    student_accuracy: float
    student_alone_accuracy: float  # the same small network, without its teacher
    student_bytes: float
    student_time: float

    def holds(self) -> bool:
        """Time is reported and not promised: it is the machine's, and other programs share it."""
        small = max(self.half_bytes, self.int8_bytes, self.student_bytes) <= 0.4
        least = min(self.zeros_accuracy, self.half_accuracy, self.int8_accuracy, self.student_accuracy)
        return self.accuracy >= 0.98 and small and least >= self.accuracy - 0.02


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    full = full_network(settings, hooks)
    scales = Scales(settings.seed)
    before = scales.weigh(full)
    zeros = scales.weigh(with_zeros(full, settings, hooks))
    half = scales.weigh(half_the_channels(full, settings, hooks))
    images, classes = digits()
    int8 = scales.weigh(quantised(full, images[split(classes, 0.2, settings.seed)[0][:256]]))
    alone = scales.weigh(student(None, settings, hooks))
    taught = scales.weigh(student(full, settings, hooks))

    def shares(after: Weighed) -> tuple[float, float]:
        return after.bytes / before.bytes, after.milliseconds / before.milliseconds

    zeros_bytes, zeros_time = shares(zeros)
    return Result(
        before.accuracy, before.bytes, before.milliseconds,
        zeros.accuracy, zeros_bytes, zeros.zipped / before.zipped, zeros_time,
        half.accuracy, *shares(half),
        int8.accuracy, *shares(int8),
        taught.accuracy, alone.accuracy, *shares(taught),
    )  # fmt: skip


def full_network(settings: Settings, hooks: Sequence[Hook] = ()) -> nn.Sequential:
    seed_everything(settings.seed)
    network = convnet(side=8)
    train(network, settings, hooks, name="full")
    return network.cpu().eval()


def with_zeros(
    full: nn.Sequential, settings: Settings, hooks: Sequence[Hook] = (), share: float = ZEROS, repair: bool = True
) -> nn.Sequential:
    """A copy whose `share` smallest weights of all layers together are zero; the others are trained on to repair it."""
    seed_everything(settings.seed)
    network = _copy(full)
    weights = [(layer, "weight") for layer in network if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():  # or the network cannot be copied, as FSDP2 must
        prune.global_unstructured(weights, prune.L1Unstructured, amount=share)
    if repair:
        _learn(network, F.cross_entropy, settings, hooks, name="zeros", rate=0.003, epochs=5)
    for layer, name in weights:
        prune.remove(layer, name)  # the mask is multiplied in for good
    return network


def half_the_channels(full: nn.Sequential, settings: Settings, hooks: Sequence[Hook] = ()) -> nn.Sequential:
    """A truly smaller network: the louder half of each convolution's channels, trained on."""
    seed_everything(settings.seed)
    network = narrowed(full)
    _learn(network, F.cross_entropy, settings, hooks, name="half", rate=0.005, epochs=8)
    return network


def student(teacher: nn.Module | None, settings: Settings, hooks: Sequence[Hook] = ()) -> nn.Module:
    """A network of a tenth of the weights, taught by the classes alone or by the teacher's doubts as well."""
    seed_everything(settings.seed)
    network = convnet(side=8, widths=SMALL)
    if teacher is None:
        _learn(network, F.cross_entropy, settings, hooks, name="alone")
    else:
        _learn(Pair(network, teacher), distillation, settings, hooks, name="taught")
    return network


def _learn(
    network: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    settings: Settings,
    hooks: Sequence[Hook],
    *,
    name: str,
    rate: float = 0.01,
    epochs: int = 15,
) -> None:
    images, classes = digits()
    rows = split(classes, 0.2, settings.seed)[0]
    batches = Batches((images[rows], classes[rows]), size=64, seed=settings.seed, augment=move)
    learn(network, batches, settings, hooks, name, epochs=epochs, rate=rate, loss=loss)


def _copy(network: nn.Sequential) -> nn.Sequential:
    twin = convnet(side=8)
    twin.load_state_dict(network.state_dict())
    return twin
