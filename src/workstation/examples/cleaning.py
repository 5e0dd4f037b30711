"""From a table as people keep it to a tensor: what is learnt, is learnt from the training rows alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

FAR_OUT = 5.0  # interquartile ranges beyond the quartiles: a typing error, not an unusual patient


@dataclass(frozen=True)
class Numbers:
    """A column of numbers, some of them missing, unreadable or impossible."""

    name: str
    low: float
    high: float
    median: float

    @classmethod
    def learn(cls, name: str, values: pd.Series) -> Numbers:
        quarter, median, three_quarters = values.quantile([0.25, 0.5, 0.75])
        margin = FAR_OUT * (three_quarters - quarter)
        return cls(name, quarter - margin, three_quarters + margin, median)

    def columns(self, values: pd.Series) -> list[np.ndarray]:
        """The numbers with gaps filled by the median, and where the gaps were: a gap can mean something."""
        numbers = pd.to_numeric(values, errors="coerce")
        gap = ~numbers.between(self.low, self.high)  # NaN is not between
        return [numbers.mask(gap, self.median).to_numpy(float), gap.to_numpy(float)]


@dataclass(frozen=True)
class Choices:
    """A column of words; one output column a word. A word not met in training is none of them."""

    name: str
    words: tuple[str, ...]

    def columns(self, values: pd.Series) -> list[np.ndarray]:
        return [(values == word).to_numpy(float) for word in self.words]


@dataclass(frozen=True)
class Cleaner:
    """Every usable column, in the table's order. A column without a single value is left out."""

    columns: tuple[Numbers | Choices, ...]

    @classmethod
    def learn(cls, table: pd.DataFrame) -> Cleaner:
        return cls(tuple(_learn(str(name), table[name]) for name in table if table[name].notna().any()))

    def __call__(self, table: pd.DataFrame) -> Tensor:
        """(rows, columns) in float32, without a gap."""
        parts = [part for column in self.columns for part in column.columns(table[column.name])]
        return torch.tensor(np.column_stack(parts), dtype=torch.float32)


def _learn(name: str, values: pd.Series) -> Numbers | Choices:
    numbers = pd.to_numeric(values, errors="coerce")
    # Mostly numbers: the rest, such as "n/a", are gaps. Mostly words: they are choices.
    if numbers.notna().sum() * 2 >= values.notna().sum():
        return Numbers.learn(name, numbers)
    return Choices(name, tuple(sorted(values.dropna().unique())))
