"""How good is a classifier? Counts, the four rates that are made of them, and the ROC curve."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Confusion:
    """The four ways a yes/no answer can meet the truth. A rate with nothing to divide by is 0."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @classmethod
    def count(cls, predicted: Tensor, truth: Tensor) -> Confusion:
        """Both of the same shape; anything not zero means yes."""
        yes, positive = predicted.bool(), truth.bool()
        cells = (yes & positive, yes & ~positive, ~yes & positive, ~yes & ~positive)
        return cls(*(int(cell.sum()) for cell in cells))

    @property
    def accuracy(self) -> float:
        right = self.true_positives + self.true_negatives
        return _share(right, right + self.false_positives + self.false_negatives)

    @property
    def precision(self) -> float:
        """Of those called positive, how many are."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Of those that are positive, how many were found."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return _share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)


def roc(scores: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """(false-positive rate, true-positive rate) at every threshold from strictest to laxest; rows of equal score share
    one. Both start at 0 and end at 1."""
    order = scores.flatten().argsort(descending=True)
    ranked, positive = scores.flatten()[order], truth.flatten().bool()[order]
    last_of_its_score = torch.cat([ranked[1:] != ranked[:-1], torch.tensor([True])])
    zero = torch.zeros(1, dtype=torch.float64)
    found = torch.cat([zero, positive.double().cumsum(0)[last_of_its_score]])
    false = torch.cat([zero, (~positive).double().cumsum(0)[last_of_its_score]])
    return false / false[-1], found / found[-1]


def roc_auc(scores: Tensor, truth: Tensor) -> float:
    """The area under that curve: how often a random positive scores above a random negative."""
    return float(torch.trapezoid(*reversed(roc(scores, truth))))


def accuracy(logits: Tensor, classes: Tensor) -> float:
    """The share of rows whose largest logit, shape (rows, classes), is the right one."""
    return float((logits.argmax(dim=1) == classes).double().mean())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
