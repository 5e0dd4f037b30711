"""Mini-batches of rows that are already in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Batches:
    """Rows in a new order each epoch. The order comes from seed and epoch alone, so a resumed run sees the same one."""

    tensors: tuple[Tensor, ...]  # each (rows, …); the target last
    size: int
    seed: int = 0
    augment: Callable[[Tensor], Tensor] | None = None  # changes the first tensor of each batch, anew each time
    _epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by `fit`; the same word as torch's DistributedSampler."""
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.tensors[0]) / self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self._epoch)
        for rows in torch.randperm(len(self.tensors[0]), generator=generator).split(self.size):
            first, *others = (tensor[rows] for tensor in self.tensors)
            yield (self.augment(first) if self.augment else first, *others)
