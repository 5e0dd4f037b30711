"""What a language model must beat: counting. Interpolated Kneser-Ney, the best of the n-gram models.

Chen and Goodman, *An Empirical Study of Smoothing Techniques for Language Modeling*, 1999. With c the counts at the
highest order and, below it, how many different tokens came before (continuation counts):

    p(w | h) = max(c(h w) − D, 0) / c(h) + D · N(h ·) / c(h) · p(w | h without its oldest token)

N(h ·) counts the different tokens seen after h. D = n₁ / (n₁ + 2 n₂), of the n-grams seen once and twice, and a half
where none was seen once. The last resort is uniform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Keys: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Level:
    """The statistics of one order, as sorted keys and what belongs to each."""

    grams: Keys  # context and token in one number
    counts: NDArray[np.float64]
    contexts: Keys
    totals: NDArray[np.float64]  # c(h)
    kinds: NDArray[np.float64]  # N(h ·)
    discount: float

    @classmethod
    def of(cls, grams: Keys, counts: NDArray[np.float64], size: int) -> Level:
        contexts, which = np.unique(grams // size, return_inverse=True)
        once, twice = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
        discount = once / (once + 2 * twice) if once else 0.5
        totals = np.bincount(which, weights=counts)
        return cls(grams, counts, contexts, totals, np.bincount(which).astype(float), discount)

    def refine(self, grams: Keys, size: int, lower: NDArray[np.float64]) -> NDArray[np.float64]:
        """p at this order, given p at the order below. An unknown context leaves it as it is."""
        contexts = grams // size
        total, kinds = _look_up(self.contexts, self.totals, contexts), _look_up(self.contexts, self.kinds, contexts)
        count = _look_up(self.grams, self.counts, grams)
        known = total > 0
        total = np.where(known, total, 1.0)
        higher = (np.maximum(count - self.discount, 0) + self.discount * kinds * lower) / total
        return np.where(known, higher, lower)


@dataclass(frozen=True)
class NGram:
    vocabulary: int
    size: int  # of an alphabet that has a sign more, for what is before a document
    levels: tuple[Level, ...]  # of order 1, 2, …

    @classmethod
    def count(cls, documents: list[NDArray[np.int64]], vocabulary: int, order: int = 5) -> NGram:
        """Count in `documents`, token numbers below `vocabulary`."""
        size = vocabulary + 1
        if size**order >= 2**63:
            raise ValueError(f"{order}-grams of {vocabulary} tokens do not fit into 64 bits")
        grams = _grams(documents, size, order)
        keys, counts = np.unique(grams, return_counts=True)
        counts = counts.astype(float)
        levels = [Level.of(keys, counts, size)]
        for length in range(order - 1, 0, -1):
            # Without their oldest token, each different longer gram counts once.
            keys, continuations = np.unique(keys % size**length, return_counts=True)
            levels.insert(0, Level.of(keys, continuations.astype(float), size))
        return cls(vocabulary, size, tuple(levels))

    def losses(self, documents: list[NDArray[np.int64]]) -> NDArray[np.float64]:
        """−ln p of every token, in nats, in order."""
        order = len(self.levels)
        grams = _grams(documents, self.size, order)
        p = np.full(len(grams), 1 / self.vocabulary)
        for length, level in enumerate(self.levels, start=1):
            p = level.refine(grams % self.size**length, self.size, p)
        return -np.log(p)


def _grams(documents: list[NDArray[np.int64]], size: int, order: int) -> Keys:
    """Each token with the `order` − 1 before it, as one number in base `size`, the oldest digit first."""
    before = np.full(order - 1, size - 1, np.int64)
    found = []
    for document in documents:
        padded = np.concatenate([before, document])
        windows = np.lib.stride_tricks.sliding_window_view(padded, order)
        found.append(windows @ (np.int64(size) ** np.arange(order - 1, -1, -1, dtype=np.int64)))
    return np.concatenate(found)


def _look_up(keys: Keys, values: NDArray[np.float64], asked: Keys) -> NDArray[np.float64]:
    at = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
    return np.where(keys[at] == asked, values[at], 0.0)
