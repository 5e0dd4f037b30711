"""A translator speaks: piece by piece, each after its own words. And was it right?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.examples.wordpiece import FIRST, LAST, PAD
from workstation.training.loop import predict
from workstation.training.settings import Settings


class Greedy(nn.Module):
    """The likeliest piece, then the likeliest after that, until the end: (rows, source length) to (rows, length)."""

    def __init__(self, translator: nn.Module, length: int) -> None:
        super().__init__()
        self.translator, self.length = translator, length

    def forward(self, source: Tensor) -> Tensor:
        memory = self.translator.encode(source)
        said = source.new_full((len(source), 1), FIRST)
        for _ in range(self.length):
            following = self.translator.decode(said, memory, source)[:, -1].argmax(dim=1, keepdim=True)
            over = (said == LAST).any(dim=1, keepdim=True)
            said = torch.cat([said, following.masked_fill(over, PAD)], dim=1)
        return said[:, 1:]


def translate(translator: nn.Module, source: Tensor, settings: Settings) -> Tensor:
    """Greedily, up to the mark of the end or the last place it has: (rows, places)."""
    return predict(Greedy(translator, translator.places.num_embeddings), source, settings=settings)


def exact(said: Tensor, target: Tensor) -> Tensor:
    """Which rows have no mistake at all, from the first piece to the mark of the end: (rows,)."""
    return (said == F.pad(target, (0, said.shape[1] - target.shape[1]), value=PAD)).all(dim=1)
