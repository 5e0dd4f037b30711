"""Anomalies: one payment in a hundred is a fraud, and nobody says which (A1 §6.4; A2 §6.4).

The article names fraud detection, and computes accuracy alone, by which "no fraud, ever" is 99 % right. Here the
area under the precision-recall curve counts. A loud fraud has values that nobody has: a forest of random cuts finds it.
A quiet one is made of ordinary values that do not belong together; an autoencoder, which has learnt how they hang
together, finds most, from the same unlabelled payments. A linear one, of six numbers where it has four, comes second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.examples.transactions import HONEST, LOUD, QUIET, SHARE, payments
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit, predict
from workstation.training.scaling import Standardizer
from workstation.training.scores import roc_auc
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

TRAIN, TEST = 8_000, 20_000

DATA = (
    f"{TRAIN + TEST} payments of 12 numbers, {SHARE:.0%} fraud, made from the seed, in place of ULB's credit-card set"
)
PROMISE = (
    "an autoencoder finds quiet frauds with a PR-AUC of 0.8, 0.1 more than the best linear one and 0.4 more than an "
    "isolation forest; loud ones with 0.95; 'no fraud, ever' is as accurate as the forest to 1 point"
)


@dataclass(frozen=True)
class Result:
    """On payments not trained on. PR-AUC is the average precision; a guess has the share of frauds, 0.005 a kind."""

    never_accuracy: float  # "no fraud, ever"
    forest_accuracy: float  # when one payment in a hundred raises an alarm
    autoencoder_accuracy: float
    quiet_forest: float
    quiet_linear: float  # the best of all widths, chosen by the test itself: more than it could have in life
    quiet_autoencoder: float
    quiet_forest_roc: float  # the ROC AUC, which flatters where frauds are rare
    loud_forest: float
    loud_linear: float
    loud_autoencoder: float

    def holds(self) -> bool:
        return (
            self.quiet_autoencoder >= max(0.8, self.quiet_linear + 0.1, self.quiet_forest + 0.4)
            and self.loud_autoencoder >= 0.95
            and abs(self.never_accuracy - self.forest_accuracy) <= 0.01
        )


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    known, _ = payments(TRAIN, settings.seed)  # who trains does not see the kinds
    unseen, kinds = payments(TEST, seed=1_000_000 + settings.seed)
    scale = Standardizer.learn(known)
    known, unseen = scale(known), scale(unseen)

    forest = forest_scores(known, unseen, settings.seed)
    linear = [linear_scores(known, unseen, width) for width in range(1, 12)]
    seed_everything(settings.seed)
    model = autoencoder()
    train(model, known, settings, hooks)
    errors = reconstruction_error(model, unseen, settings)
    return Result(
        never_accuracy=(kinds == HONEST).double().mean().item(),
        forest_accuracy=alarm_accuracy(forest, kinds),
        autoencoder_accuracy=alarm_accuracy(errors, kinds),
        quiet_forest=pr_auc(forest, kinds, QUIET),
        quiet_linear=max(pr_auc(scores, kinds, QUIET) for scores in linear),
        quiet_autoencoder=pr_auc(errors, kinds, QUIET),
        quiet_forest_roc=roc_auc(forest[kinds != LOUD], kinds[kinds != LOUD] == QUIET),
        loud_forest=pr_auc(forest, kinds, LOUD),
        loud_linear=max(pr_auc(scores, kinds, LOUD) for scores in linear),
        loud_autoencoder=pr_auc(errors, kinds, LOUD),
    )


def autoencoder(width: int = 4) -> nn.Sequential:
    """Twelve numbers through `width` and back: what it cannot squeeze through is what it has not seen."""
    return nn.Sequential(
        nn.Linear(12, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, width),
        nn.Linear(width, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 12),
    )  # fmt: skip


def train(model: nn.Module, known: Tensor, settings: Settings, hooks: Sequence[Hook] = ()) -> list[float]:
    epochs = settings.epochs or 40
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    return fit(
        model,
        Batches((known, known), size=128, seed=settings.seed),
        F.mse_loss,
        optimizer,
        epochs=epochs,
        settings=settings,
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=epochs + 1),
        hooks=hooks,
        name="autoencoder",
    )


def reconstruction_error(model: nn.Module, rows: Tensor, settings: Settings) -> Tensor:
    """How far what comes back is from what went in: (rows,)."""
    return (predict(model, rows, settings=settings) - rows).square().sum(dim=1)


def linear_scores(known: Tensor, rows: Tensor, width: int) -> Tensor:
    """The same with the best linear autoencoder: the first `width` principal components."""
    components = torch.linalg.svd(known, full_matrices=False).Vh[:width]  # (width, 12)
    return (rows @ components.T @ components - rows).square().sum(dim=1)


def forest_scores(known: Tensor, rows: Tensor, seed: int) -> Tensor:
    """How few random cuts set a payment apart from all others (Liu et al. 2008)."""
    forest = IsolationForest(random_state=seed).fit(known.numpy())
    return -torch.from_numpy(forest.score_samples(rows.numpy()))


def pr_auc(scores: Tensor, kinds: Tensor, wanted: int) -> float:
    """The area under the precision-recall curve for one kind of fraud among the honest payments."""
    rows = (kinds == HONEST) | (kinds == wanted)
    return float(average_precision_score(kinds[rows] == wanted, scores[rows]))


def alarm_accuracy(scores: Tensor, kinds: Tensor) -> float:
    """The accuracy when the highest scores raise an alarm, as many as there are frauds."""
    alarms = torch.zeros(len(scores), dtype=torch.bool)
    alarms[scores.topk(int((kinds != HONEST).sum())).indices] = True
    return float((alarms == (kinds != HONEST)).double().mean())
