"""What a layer of Llama 3's 8B, tuned by LoRA, makes an H200 read and write: operation by operation, and compiled.

    LD_PRELOAD=(one_gpu.c, compiled) python hopper_lora.py

As in hopper.py there is no H200. Products and attention are left out of both, and so is what only looks at memory.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from hopper import CUDA, compiling, move, pretend
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from workstation.llm import library
from workstation.llm.finetune import Tuning, adapt, compiled
from workstation.llm.settings import PRESETS

ROWS, LENGTH = 4, 2048
PRODUCTS = ("mm", "attention")


class Moved(TorchDispatchMode):
    """Bytes that go in and come out of each operation."""

    total = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = operation(*args, **(kwargs or {}))
        if not operation.is_view and not any(name in str(operation) for name in PRODUCTS):
            given = tree_leaves((args, kwargs, answer))
            self.total += sum(each.numel() * each.dtype.itemsize for each in given if isinstance(each, Tensor))
        return answer


def model() -> nn.Module:
    transformers, shape = library.transformers(), PRESETS["8b"].shape
    config = transformers.LlamaConfig(
        vocab_size=1024, hidden_size=shape.width, num_hidden_layers=1, num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads, intermediate_size=shape.hidden, max_position_embeddings=LENGTH,
    )  # fmt: skip
    with torch.device("meta"):
        return adapt(transformers.LlamaForCausalLM(config).to(torch.bfloat16), Tuning("", rank=16))


def main() -> None:
    pretend()
    tuned = model()
    (layer,) = tuned.get_base_model().model.layers
    with compiling() as graphs, torch.autocast("cuda", torch.bfloat16):
        move(layer)
        states = torch.empty(ROWS, LENGTH, PRESETS["8b"].shape.width, dtype=torch.bfloat16, device=CUDA)
        angles = torch.empty(2, ROWS, LENGTH, PRESETS["8b"].shape.head_width, dtype=torch.bfloat16, device=CUDA)

        def answer() -> Tensor:
            return layer(states.requires_grad_(), attention_mask=None, position_embeddings=tuple(angles))

        with Moved() as counted:
            trained = [states, *(weight for weight in layer.parameters() if weight.requires_grad)]
            torch.autograd.grad(answer().sum(), trained)
        compiled(layer)
        answer()
    print(json.dumps({"operations": counted.total, "compiled": sum(graph.moved for graph in graphs)}))


if __name__ == "__main__":
    main()
