"""Logistic regression (A2 §4.1, §2.6): is a tumour malignant? And what "accuracy" leaves out.

The article prints the sigmoid and stops: no probability, no loss, no data. And the one measure that it computes is
accuracy, though calling every tumour benign would be right 63 times in 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.examples.datasets import BREAST_CANCER, breast_cancer, split
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit, predict
from workstation.training.scaling import Standardizer
from workstation.training.scores import Confusion, roc_auc
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

DATA = str(BREAST_CANCER)
# A missed tumour counts twice a false alarm, so the cheaper answer is "malignant" from p = 1 / (1 + 2) on.
CALL_MALIGNANT_FROM = 1 / 3

PROMISE = "on patients it never saw: accuracy ≥ 0.93, recall ≥ 0.92, ROC AUC ≥ 0.98"


@dataclass(frozen=True)
class Result:
    """On the quarter of the patients that was kept aside. Positive means malignant."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    auc: float
    accuracy_of_always_benign: float

    def holds(self) -> bool:
        return self.accuracy >= 0.93 and self.recall >= 0.92 and self.auc >= 0.98


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    logits, truth = logits_of_unseen(settings, hooks)
    confusion = Confusion.count(torch.sigmoid(logits) >= CALL_MALIGNANT_FROM, truth)
    return Result(
        accuracy=confusion.accuracy,
        precision=confusion.precision,
        recall=confusion.recall,
        f1=confusion.f1,
        auc=roc_auc(logits, truth),
        accuracy_of_always_benign=Confusion.count(torch.zeros_like(truth), truth).accuracy,
    )


def logits_of_unseen(settings: Settings, hooks: Sequence[Hook] = ()) -> tuple[Tensor, Tensor]:
    """Train on three quarters; the logits log(p / (1 − p)) of the rest and their truth, both (143, 1)."""
    rows, malignant = breast_cancer()  # (569, 30), (569, 1)
    train, test = split(malignant, test_share=0.25, seed=settings.seed)
    scale = Standardizer.learn(rows[train])

    seed_everything(settings.seed)
    model = nn.Linear(rows.shape[1], 1)  # the whole model: a weight a measurement, and a bias
    fit(
        model,
        Batches((scale(rows[train]), malignant[train]), size=64, seed=settings.seed),
        F.binary_cross_entropy_with_logits,
        torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1),
        epochs=settings.epochs or 60,
        settings=settings,
        hooks=hooks,
        name="logistic_regression",
    )
    return predict(model, scale(rows[test]), settings=settings), malignant[test]
