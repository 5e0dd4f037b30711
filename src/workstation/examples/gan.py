"""A generative adversarial network (A2 §4.4).

The article names the two layers of a DCGAN and shows no code. Here a generator learns to draw 8×8 digits that a
discriminator cannot tell from real ones. A falling loss says nothing of that: both networks move. So the drawings are
judged by what neither of them was trained on, with scores that a generator fails which draws one picture, or copies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from workstation.examples import cnn
from workstation.examples.datasets import DIGITS, digits, split
from workstation.examples.sample_scores import SampleScores, gaussian_pictures, score
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit, predict
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

NOISE = 10

DATA = f"{DIGITS}, in place of FashionMNIST or CelebA"
PROMISE = (
    "of 360 drawn digits 65 % are recognised, 10 points more than of a Gaussian's; all ten occur; they reach 60 % of "
    "the unseen real ones, and 20 % of each digit; they repeat neither themselves nor the training pictures"
)


@dataclass(frozen=True)
class Result(SampleScores):
    gaussian_recognised: float  # pictures drawn from the training pictures' mean and covariance

    def holds(self) -> bool:
        are_digits = self.recognised >= max(0.65, self.gaussian_recognised + 0.1)
        are_all = self.classes >= 8 and self.coverage >= 0.6 and self.poorest_digit >= 0.2
        return are_digits and are_all and self.repeating <= 0.9 and self.copying <= 0.6


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    images, classes = digits()
    rows, unseen = split(classes, 0.2, settings.seed)
    judge = trained_judge(settings, hooks)

    def scores(pictures: Tensor) -> SampleScores:
        judged = predict(judge, pictures, settings=settings)
        return score(pictures, judged, images[rows], images[unseen], classes[unseen])

    seed_everything(settings.seed)
    networks = Adversaries(generator(), discriminator())
    train(networks, images[rows], settings, hooks)
    drawn = scores(draw(networks.generator, len(unseen), settings))
    gaussian = scores(gaussian_pictures(images[rows], len(unseen), settings.seed))
    return Result(**dataclasses.asdict(drawn), gaussian_recognised=gaussian.recognised)


def generator() -> nn.Sequential:
    """Noise, (rows, 10), to pictures from 0 to 1, (rows, 1, 8, 8): each transposed convolution doubles the side."""
    return nn.Sequential(
        nn.Unflatten(1, (NOISE, 1, 1)),
        nn.ConvTranspose2d(NOISE, 64, 2, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1), nn.Sigmoid(),
    )  # fmt: skip


def discriminator() -> nn.Sequential:
    """Pictures to one logit each, (rows, 1): positive means "real". A stride in place of a pooling halves the side."""
    return nn.Sequential(
        nn.Conv2d(1, 48, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
        nn.Conv2d(48, 96, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(96), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(96 * 2 * 2, 1),
    )  # fmt: skip


class Adversaries(nn.Module):
    """Both networks as one model, so that one backward gives each its own gradient."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator

    def forward(self, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The discriminator's logits, (rows, 1) each: for the real pictures, for as many drawn ones as it learns from
        them, and for the same ones as the generator does."""
        drawn = self.generator(torch.randn(len(real), NOISE, device=real.device))
        # Real and drawn go in apart: BatchNorm would tell a mixed batch's halves from each other by their mean.
        # The third pass has constants for weights, and copies of BatchNorm's running averages: nothing counts twice.
        weights = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        averages = {name: average.clone() for name, average in self.discriminator.named_buffers()}
        as_generator = functional_call(self.discriminator, weights | averages, (drawn,))
        return self.discriminator(real), self.discriminator(drawn.detach()), as_generator


def adversarial_loss(logits: tuple[Tensor, Tensor, Tensor], real: Tensor) -> Tensor:
    """The discriminator's two cross-entropies and the generator's, which wants "real", (rows, 1) of 1, to be said."""
    of_real, of_drawn, as_generator = logits
    discriminator_loss = _cross_entropy(of_real, real) + _cross_entropy(of_drawn, 1 - real)
    return discriminator_loss + _cross_entropy(as_generator, real)


_cross_entropy = F.binary_cross_entropy_with_logits


def train(networks: Adversaries, images: Tensor, settings: Settings, hooks: Sequence[Hook] = ()) -> list[float]:
    """The loss of each epoch, which is no measure of the pictures."""
    groups = [
        {"params": networks.generator.parameters(), "lr": 2e-3},
        {"params": networks.discriminator.parameters(), "lr": 2e-3},
    ]
    # Little momentum (Radford et al. 2016): the other side moves, so yesterday's direction is soon wrong.
    optimizer = torch.optim.Adam(groups, betas=(0.5, 0.999))
    epochs = settings.epochs or 25
    return fit(
        networks,
        Batches((images, torch.ones(len(images), 1)), size=32, seed=settings.seed),
        adversarial_loss,
        optimizer,
        epochs=epochs,
        settings=settings,
        # The two circle each other; smaller and smaller steps let them come to rest.
        scheduler=torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=epochs),
        hooks=hooks,
        name="gan",
    )


def draw(generator: nn.Module, rows: int, settings: Settings) -> Tensor:
    """`rows` new pictures, (rows, 1, 8, 8)."""
    noise = torch.randn(rows, NOISE, generator=torch.Generator().manual_seed(settings.seed))
    return predict(generator, noise, settings=settings)


def trained_judge(settings: Settings, hooks: Sequence[Hook] = ()) -> nn.Module:
    """Chapter 6's network, which reads real digits. A measuring instrument: `epochs` does not shorten its training."""
    seed_everything(settings.seed)
    judge = cnn.convnet(side=8)
    cnn.train(judge, dataclasses.replace(settings, epochs=None), hooks, name="judge")
    return judge
