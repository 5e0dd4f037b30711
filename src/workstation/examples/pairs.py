"""Pairs of pictures, of one identity and of two; how far they are apart, and up to where they count as the same."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    left: Tensor  # row numbers, (pairs,)
    right: Tensor
    same: Tensor  # whether both rows are of one identity


def pairs(identities: Tensor, rows: Tensor, seed: int, most: int = 1000) -> Pairs:
    """Up to `most` pairs of one identity among `rows`, and as many of two."""
    left, right = (rows[place] for place in torch.triu_indices(len(rows), len(rows), offset=1))
    same = identities[left] == identities[right]
    generator = torch.Generator().manual_seed(seed)
    kinds = [kind.nonzero().flatten() for kind in (same, ~same)]
    count = min(most, *(len(kind) for kind in kinds))
    chosen = torch.cat([kind[torch.randperm(len(kind), generator=generator)[:count]] for kind in kinds])
    return Pairs(left[chosen], right[chosen], same[chosen])


def distances(vectors: Tensor, of: Pairs) -> Tensor:
    """Euclidean, (pairs,)."""
    apart: Tensor = torch.linalg.vector_norm(vectors[of.left] - vectors[of.right], dim=1)
    return apart


def best_threshold(distances: Tensor, same: Tensor) -> float:
    """The distance up to which to say "the same", with the fewest errors on these pairs."""
    ordered, order = distances.sort()
    right = same[order].long().cumsum(0) + (~same[order]).sum() - (~same[order]).long().cumsum(0)
    return float(ordered[right.argmax()])
