"""Four chapters with public data or weights in place of their own: `workstation examples run cnn --data cifar-10`.

What is learnt, and how, is the chapters' own; only what the other data need is here. The chapters' thresholds were
measured on the chapters' data and say nothing of these. Where no run was measured, nothing is promised: the numbers are
reported and not judged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

from workstation.examples import cnn, guestbook, hub, mlp, transfer
from workstation.examples.cleaning import Cleaner
from workstation.examples.datasets import DIGITS, folds
from workstation.examples.public_data import (
    CALIFORNIA_HOUSING,
    CIFAR_10,
    FASHION_MNIST,
    IMAGENET_RESNET18,
    RESNET,
    Rows,
    california_housing,
    cifar_10,
    fashion_mnist,
    imagenet_resnet18,
)
from workstation.training.batches import Batches
from workstation.training.loop import Hook, predict
from workstation.training.metrics import Metrics
from workstation.training.scaling import Standardizer
from workstation.training.scores import accuracy
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

UNMEASURED = "nothing is promised: no run with these data was measured when this was written"
# Measured with five seeds: 0.777 to 0.794, the plane 0.661.
BEYOND_THE_PLANE = "R² ≥ 0.75 on unseen districts, and 0.08 more than the best plane"
SIDE = 64  # pixels: a ResNet takes any side from 32, and what it makes of 224 takes twelve times as long


@dataclass(frozen=True)
class Study:
    """A chapter with other data, in the form of `catalog.Example`."""

    DATA: str
    PROMISE: str
    run: Callable[[Settings, Sequence[Hook]], Metrics]
    at_hand: Callable[[], object]  # an error within seconds where the data are not here and cannot be fetched


@dataclass(frozen=True)
class Pictures:
    """On the 10 000 pictures of the public test set."""

    accuracy: float
    linear_accuracy: float
    parameters: int

    def holds(self) -> None:
        """Nothing was promised."""


@dataclass(frozen=True)
class Housing:
    """R², five-fold, on districts not trained on."""

    r2: float
    plane_r2: float

    def holds(self) -> bool:
        return self.r2 >= 0.75 and self.r2 >= self.plane_r2 + 0.08


@dataclass(frozen=True)
class Backbone:
    """Accuracy on the 1787 handwritten digits that were not trained on, mean over the draws."""

    from_nothing: float  # a ResNet-18 too
    head_only: float
    fine_tuned: float

    def holds(self) -> None:
        """Nothing was promised."""


@dataclass(frozen=True)
class Languages:
    """Accuracy on remarks about other things than the labelled ones. The labels are in English alone."""

    model: str
    english: float
    chinese: float
    english_from_nothing: float
    chinese_from_nothing: float

    def holds(self) -> None:
        """Nothing was promised."""


def pictures(load: Callable[[], tuple[Rows, Rows]], settings: Settings, hooks: Sequence[Hook]) -> Pictures:
    """The network and the linear model of the CNN chapter, for pictures of any side and number of channels."""
    (images, classes), (unseen, truth) = load()
    channels, side = images.shape[1:3]
    seed_everything(settings.seed)
    network = cnn.convnet(side, channels)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(channels * side**2, 10))
    scores = []
    for name, model in [("cnn", network), ("linear", linear)]:
        batches = Batches((images, classes), size=128, seed=settings.seed, augment=vary)
        cnn.learn(model, batches, settings, hooks, name, epochs=10)
        scores.append(accuracy(answers(model, unseen, settings), truth))
    return Pictures(scores[0], scores[1], sum(parameter.numel() for parameter in network.parameters()))


def vary(images: Tensor) -> Tensor:
    """Pictures in uint8 to the same from 0 to 1, half of them mirrored (a shoe may be: a digit may not), all moved."""
    mirrored = torch.rand(len(images), device=images.device).lt(0.5).view(-1, 1, 1, 1)
    return cnn.move(torch.where(mirrored, images.flip(3), images) / 255, most=0.1)


def answers(model: nn.Module, images: Tensor, settings: Settings) -> Tensor:
    """Logits, (rows, classes), for pictures in uint8. A few at a time: each takes half a MB between the layers."""
    return torch.cat([predict(model, some / 255, settings=settings) for some in images.split(500)])


def housing(settings: Settings, hooks: Sequence[Hook]) -> Housing:
    """The MLP chapter's cleaning and network, and a plane. With 47 times as many rows nothing need hold it back."""
    table, price = california_housing()
    settings = dataclasses.replace(settings, epochs=settings.epochs or 20)
    r2 = mlp.cross_validated(table, price, settings, hooks, dropout=0.0, decay=0.01)
    return Housing(r2, plane_r2(table, price, settings.seed))


def plane_r2(table: pd.DataFrame, target: Tensor, seed: int) -> float:
    """R² of the best plane, in the same folds and after the same cleaning."""
    said = torch.empty_like(target)
    for train, test in folds(len(target), 5, seed):
        rows = Cleaner.learn(table.iloc[train.tolist()])(table)
        rows = Standardizer.learn(rows[train])(rows)
        design = torch.cat([torch.ones(len(rows), 1), rows], dim=1).double()
        # gelsy: a column that never varies is no reason to fail.
        weights = torch.linalg.lstsq(design[train], target[train].double(), driver="gelsy").solution
        said[test] = (design[test] @ weights).float()
    return mlp.r_squared(said, target)


def backbone(settings: Settings, hooks: Sequence[Hook]) -> Backbone:
    """The transfer chapter's question to a network that has seen photographs in place of print."""
    photographs = imagenet_resnet18()
    # A tenth of the chapter's step, as is usual for a network of 11 million weights. It was not measured.
    return Backbone(*transfer.compare(reader(photographs), settings, hooks, build=blank_reader, gently=0.0005))


def blank_reader() -> nn.Sequential:
    return reader(resnet18())


def reader(photographs: nn.Module) -> nn.Sequential:
    """A ResNet-18 for digits of 8×8, with a new head: (rows, 1, 8, 8) to (rows, 10)."""
    head = nn.Linear(photographs.fc.in_features, 10)
    photographs.fc = nn.Identity()
    return nn.Sequential(Photograph(), photographs, head)


class Photograph(nn.Module):
    """What a digit must become for a network that knows photographs: large, in three colours, on their scale."""

    def __init__(self) -> None:
        super().__init__()
        known = RESNET.transforms()
        self.register_buffer("mean", torch.tensor(known.mean).view(3, 1, 1))
        self.register_buffer("scale", torch.tensor(known.std).view(3, 1, 1))

    def forward(self, digits: Tensor) -> Tensor:
        large = F.interpolate(digits, size=(SIDE, SIDE), mode="bilinear")
        return (large - self.mean) / self.scale  # (rows, 1, …) against (3, 1, 1): three colours


def languages(settings: Settings, hooks: Sequence[Hook]) -> Languages:
    """The multilingual chapter with the BERT of the Hub."""
    from workstation.examples import multilingual  # transformers takes seconds to import, and no other study needs it

    return Languages(**dataclasses.asdict(multilingual.run(settings, hooks, model=hub.LARGE)))


STUDIES = {
    "fashion-mnist": Study(
        str(FASHION_MNIST), UNMEASURED, partial(pictures, fashion_mnist), at_hand=FASHION_MNIST.folder
    ),
    "cifar-10": Study(str(CIFAR_10), UNMEASURED, partial(pictures, cifar_10), at_hand=CIFAR_10.folder),
    "california-housing": Study(str(CALIFORNIA_HOUSING), BEYOND_THE_PLANE, housing, at_hand=CALIFORNIA_HOUSING.folder),
    "imagenet-resnet18": Study(
        f"{IMAGENET_RESNET18}; then {DIGITS}", UNMEASURED, backbone, at_hand=IMAGENET_RESNET18.folder
    ),
    "bert-multilingual": Study(
        f"{hub.LARGE} (Google, Apache-2.0, sizes checked by huggingface_hub); then {guestbook.SOURCE}",
        UNMEASURED,
        languages,
        at_hand=partial(hub.locate, hub.LARGE),
    ),
}
