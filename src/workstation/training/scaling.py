"""Bring numbers to the scale of 1, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Standardizer:
    """Columns to mean 0 and standard deviation 1, learnt from the training rows alone.

    A column that never varies has no scale: it is only shifted.
    """

    mean: Tensor  # (columns,)
    scale: Tensor  # (columns,)

    @classmethod
    def learn(cls, rows: Tensor) -> Standardizer:
        """Learn from `rows`, shape (rows, columns)."""
        scale = rows.std(dim=0, correction=0)
        return cls(rows.mean(dim=0), torch.where(scale > 0, scale, torch.ones_like(scale)))

    def __call__(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.scale

    def invert(self, rows: Tensor) -> Tensor:
        """Back to the units they came in."""
        return rows * self.scale + self.mean
