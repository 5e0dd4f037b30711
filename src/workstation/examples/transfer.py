"""Transfer learning: one handwritten example a digit, after much print (A1 §1.2; A2 §1.1–1.2).

The article praises pretrained models and shows none. A network that has read printed characters knows strokes and
corners. Given ten handwritten pictures, one a digit, it should read more of the other 1787 than one that starts from
nothing. With a network and `--data imagenet-resnet18`, ImageNet takes the place of the printed characters (`online`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.examples.cnn import convnet, move
from workstation.examples.datasets import DIGITS, digits
from workstation.examples.glyphs import CHARACTERS, SOURCE, printed
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit, predict
from workstation.training.scores import accuracy
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

DRAWS = 3  # ten pictures are few: which ten is luck, so the result is the mean over three draws

DATA = f"{SOURCE}; then {DIGITS}"
PROMISE = "from one example a digit, a pretrained network reads at least 70 %, and 3 points more than one from nothing"


@dataclass(frozen=True)
class Result:
    """Accuracy on the 1787 handwritten digits that were not trained on, mean over the draws."""

    from_nothing: float
    head_only: float  # the pretrained layers stay as they are
    fine_tuned: float  # all layers go on learning

    def holds(self) -> bool:
        return self.fine_tuned >= 0.70 and min(self.head_only, self.fine_tuned) >= self.from_nothing + 0.03


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    return Result(*compare(pretrain(settings, hooks), settings, hooks))


def compare(pretrained: nn.Sequential, settings: Settings, hooks: Sequence[Hook], **network: Any) -> list[float]:
    """The accuracy from nothing, with the head alone trained, and fine-tuned: each the mean over the draws."""
    ways = {"nothing": None, "head": pretrained, "tuned": pretrained}
    scores = dict.fromkeys(ways, 0.0)
    for draw in range(DRAWS):
        for way, backbone in ways.items():
            answers, truth = learn_ten(
                backbone, draw, settings, hooks, f"{way}_{draw + 1}", frozen=way == "head", **network
            )
            scores[way] += accuracy(answers, truth) / DRAWS
    return list(scores.values())


def pretrain(settings: Settings, hooks: Sequence[Hook] = ()) -> nn.Sequential:
    """A CNN that reads 62 printed characters, strongly moved about."""
    images, characters = printed()
    seed_everything(settings.seed)
    model = convnet(side=8, classes=len(CHARACTERS))
    batches = Batches((images, characters), size=128, seed=settings.seed, augment=partial(move, most=0.25))
    _fit(model, batches, rate=0.01, epochs=settings.epochs or 40, settings=settings, hooks=hooks, name="pretrain")
    return model


def learn_ten(
    pretrained: nn.Sequential | None,
    draw: int,
    settings: Settings,
    hooks: Sequence[Hook],
    name: str,
    *,
    frozen: bool,
    build: Callable[[], nn.Sequential] = lambda: convnet(side=8),
    gently: float = 0.005,
) -> tuple[Tensor, Tensor]:
    """Train on one picture of each digit; the logits, (1787, 10), and the truth of all the others.

    `build` makes the network from nothing; `gently` is the rate at which all of a pretrained one is fine-tuned.
    """
    images, classes = digits()
    ten, rest = one_of_each(classes, seed=1000 * settings.seed + draw)
    seed_everything(settings.seed + draw)
    model = build()
    if pretrained is not None:
        # Everything but the last layer, the head: it speaks of other classes.
        model[:-1].load_state_dict(pretrained[:-1].state_dict())
    if frozen:
        model[:-1].requires_grad_(False)
    rate = gently if pretrained is not None and not frozen else 0.01  # what is known should not be washed away
    batches = Batches((images[ten], classes[ten]), size=10, seed=settings.seed, augment=move)
    _fit(model, batches, rate=rate, epochs=settings.epochs or 60, settings=settings, hooks=hooks, name=name)
    return predict(model, images[rest], settings=settings), classes[rest]


def one_of_each(classes: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The row numbers of one random picture a class, and of all the others."""
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
    ten = torch.stack([order[classes[order] == digit][0] for digit in range(10)])
    return ten, order[~torch.isin(order, ten)]


def _fit(
    model: nn.Sequential, batches: Batches, *, rate: float, epochs: int, settings: Settings, **watched: Any
) -> None:
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=rate)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=epochs + 1)
    fit(
        model,
        batches,
        F.cross_entropy,
        optimizer,
        epochs=epochs,
        settings=settings,
        scheduler=scheduler,
        **watched,
    )
