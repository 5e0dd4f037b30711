"""Is a digit classifier right, and does it know when it is not? And which rows may be asked?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.examples.datasets import digits, split
from workstation.training.loop import predict
from workstation.training.settings import Settings


@dataclass(frozen=True)
class Parts:
    """Row numbers. No row is in two of them."""

    train: Tensor
    validation: Tensor
    test: Tensor


def three_parts(seed: int) -> Parts:
    classes = digits()[1]
    known, test = split(classes, 2 / 3, seed)
    train, validation = split(classes[known], 0.5, seed)
    return Parts(known[train], known[validation], test)


def log_loss(model: nn.Module, rows: Tensor, settings: Settings) -> float:
    images, classes = digits()
    return float(F.cross_entropy(predict(model, images[rows], settings=settings), classes[rows]))


def confusion_matrix(said: Tensor, classes: Tensor, count: int) -> Tensor:
    """How often each class (row) was taken for each class (column): (count, count)."""
    return (count * classes + said).bincount(minlength=count**2).view(count, count)


def reliability(logits: Tensor, classes: Tensor, bins: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """By how sure the answer was, in bins of equal width: mean probability, share that is right, rows; each (bins,).

    An empty bin has 0 rows, and its other two numbers mean nothing.
    """
    sure, said = logits.double().softmax(1).max(1)
    place = (sure * bins).long().clamp(max=bins - 1)
    rows = place.bincount(minlength=bins)
    at_least_one = rows.clamp(min=1)
    right = (said == classes).double()
    return (
        place.bincount(sure, minlength=bins) / at_least_one,
        place.bincount(right, minlength=bins) / at_least_one,
        rows,
    )


def calibration_error(logits: Tensor, classes: Tensor, bins: int = 10) -> float:
    """The expected calibration error (Guo et al., arXiv:1706.04599): the mean gap between how sure and how right."""
    sure, right, rows = reliability(logits, classes, bins)
    return float(((sure - right).abs() * rows).sum() / rows.sum())


def temperature(logits: Tensor, classes: Tensor) -> float:
    """The T, from 0.1 to 10, for which softmax(logits / T) fits the classes best. It changes no answer."""
    candidates = torch.logspace(-1, 1, 401)
    losses = torch.stack([F.cross_entropy(logits / t, classes) for t in candidates])
    return float(candidates[losses.argmin()])
