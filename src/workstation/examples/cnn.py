"""Image classification with a convolutional network (A2 §5.2.3–5.7).

The article's ConvNet flattens to 128·6·6 numbers without ever shrinking the image, so it runs on 6×6 pictures and on no
others. Two poolings mend it, and the size of the flat layer is computed, not guessed. Its loops lack `eval()`, its
augmentation mirrors the pictures (a mirrored 2 is no digit), and its formula never prints the accuracy it shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.examples.datasets import DIGITS, digits, split
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit, predict
from workstation.training.scores import accuracy
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

DATA = f"{DIGITS}, in place of FashionMNIST or CIFAR-10"
PROMISE = "at least 98 % of the digits it never saw, and more than a linear model"


@dataclass(frozen=True)
class Result:
    """On 360 digits that were kept aside."""

    accuracy: float
    linear_accuracy: float
    parameters: int

    def holds(self) -> bool:
        return self.accuracy >= 0.98 and self.accuracy > self.linear_accuracy


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    seed_everything(settings.seed)
    network, linear = convnet(side=8), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    answers = train(network, settings, hooks, name="cnn")
    baseline = train(linear, settings, hooks, name="linear")
    classes = digits()[1]
    truth = classes[split(classes, 0.2, settings.seed)[1]]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Result(accuracy(answers, truth), accuracy(baseline, truth), parameters)


def convnet(
    side: int, channels: int = 1, classes: int = 10, widths: tuple[int, int, int] = (32, 64, 64)
) -> nn.Sequential:
    """Three convolutions, each seeing further than the one before; two poolings, each halving the picture's side."""
    first, second, third = widths

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        # padding=1 keeps the side; BatchNorm keeps the numbers near 1, so that a larger rate is safe.
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *block(channels, first), *block(first, second), nn.MaxPool2d(2),
        *block(second, third), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(third * (side // 4) ** 2, classes),
    )  # fmt: skip


def train(model: nn.Module, settings: Settings, hooks: Sequence[Hook], name: str) -> Tensor:
    """Train on four fifths of the digits, slightly moved anew each time; the logits, (360, 10), for the rest."""
    images, classes = digits()
    rows, unseen = split(classes, 0.2, settings.seed)
    batches = Batches((images[rows], classes[rows]), size=64, seed=settings.seed, augment=move)
    learn(model, batches, settings, hooks, name, epochs=15)
    return predict(model, images[unseen], settings=settings)


def learn(
    model: nn.Module,
    batches: Batches,
    settings: Settings,
    hooks: Sequence[Hook],
    name: str,
    *,
    epochs: int,
    rate: float = 0.01,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> None:
    """`epochs` of the batches, unless the settings say how many."""
    epochs = settings.epochs or epochs
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=rate)
    # Up and down again: the last, small steps are what brings the accuracy to rest.
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=epochs + 1)
    fit(
        model,
        batches,
        loss,
        optimizer,
        epochs=epochs,
        settings=settings,
        scheduler=scheduler,
        hooks=hooks,
        name=name,
    )


def move(images: Tensor, most: float = 0.15) -> Tensor:
    """Each image turned by up to `most` radians, shifted by up to `most` of half its side, resized by up to 10 %."""
    turn, right, down, zoom = (2 * torch.rand(4, len(images), device=images.device) - 1).unbind()
    angle, size = most * turn, 1 + 0.1 * zoom
    cosine, sine = size * angle.cos(), size * angle.sin()
    first, second = torch.stack([cosine, -sine, most * right], 1), torch.stack([sine, cosine, most * down], 1)
    grid = F.affine_grid(torch.stack([first, second], 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def article_net(channels: int = 3, pooled: bool = False, side: int = 6) -> nn.Sequential:
    """The article's layers. As printed it needs 6×6 pictures; `pooled` halves the side twice and asks for `side`."""
    shrink: list[nn.Module] = [nn.MaxPool2d(2)] if pooled else []
    flat = flat_features(side, pooled) if pooled else 128 * 6 * 6
    return nn.Sequential(
        nn.Conv2d(channels, 64, 3, padding=1), nn.ReLU(), *shrink,
        nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), *shrink,
        nn.Flatten(), nn.Linear(flat, 1024), nn.ReLU(), nn.Linear(1024, 10),
    )  # fmt: skip


def flat_features(side: int, pooled: bool) -> int:
    """What reaches the first linear layer: 128 channels of what is left of the picture."""
    left = math.floor(math.floor(side / 2) / 2) if pooled else side
    return 128 * left**2
