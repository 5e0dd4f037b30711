"""How to train, whatever is trained."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Settings:
    """What a person chooses for a run. Everything else is the example's own and stands in its file."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0
    epochs: int | None = None  # None: as many as the example itself asks for
    compile: bool = False  # torch.compile the model: a slow first step, faster ones after it on a GPU
    amp: bool = False  # bfloat16 where autocast finds it safe, float16 in cuDNN's RNNs; weights stay float32
    shard: bool = False  # in a job of many processes: FSDP2, which holds each parameter in parts, instead of DDP
