"""A GAN is judged by what it draws: a generator that collapses, blurs or copies fails the score."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.examples import gan
from workstation.examples.datasets import digits, split
from workstation.examples.gan import Adversaries, Result, adversarial_loss, discriminator, generator
from workstation.examples.sample_scores import SampleScores, effective_classes, gaussian_pictures, score
from workstation.training.batches import Batches
from workstation.training.loop import fit, predict
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings


@pytest.mark.slow
def test_it_draws_all_ten_digits_and_copies_none(settings: Settings) -> None:
    result = gan.run(settings)
    assert result.holds(), result


@pytest.mark.slow
def test_a_run_cut_short_breaks_the_promise() -> None:
    assert not gan.run(Settings(epochs=1)).holds()


def test_the_same_seed_gives_the_same_bits() -> None:
    once, again = (drawn_after_training(digits()[0][:256], epochs=1) for _ in range(2))
    assert torch.equal(once, again)


def drawn_after_training(images: Tensor, epochs: int, without: type[nn.Module] = nn.Identity) -> Tensor:
    """360 pictures by a GAN, from which one kind of layer may have been left out."""
    settings = Settings(epochs=epochs)
    seed_everything(settings.seed)
    painter, judge = (
        nn.Sequential(*(layer for layer in network if not isinstance(layer, without)))
        for network in (generator(), discriminator())
    )
    gan.train(Adversaries(painter, judge), images, settings)
    return gan.draw(painter, 360, settings)


# ------------------------------------------------------------------------------------------- one backward, two networks


def test_one_optimiser_does_what_two_would() -> None:
    images, settings = digits()[0][:64], Settings(seed=0)
    seed_everything(0)
    ours = Adversaries(generator(), discriminator())
    theirs = Adversaries(generator(), discriminator())
    theirs.load_state_dict(ours.state_dict())

    seed_everything(1)
    groups = [{"params": ours.generator.parameters(), "lr": 0.001}, {"params": ours.discriminator.parameters()}]
    batches = Batches((images, torch.ones(64, 1)), size=32)
    fit(ours, batches, adversarial_loss, torch.optim.Adam(groups, lr=0.002), epochs=2, settings=settings)

    seed_everything(1)
    paint, judge = theirs.generator.train(), theirs.discriminator.train()
    painting, judging = torch.optim.Adam(paint.parameters(), lr=0.001), torch.optim.Adam(judge.parameters(), lr=0.002)
    for epoch in range(2):
        batches.set_epoch(epoch)
        for real, ones in batches:
            drawn = paint(torch.randn(len(real), gan.NOISE))
            of_real, of_drawn = judge(real), judge(drawn)
            judge_loss = _entropy(of_real, ones) + _entropy(of_drawn, 0 * ones)
            judge_gradient = torch.autograd.grad(judge_loss, list(judge.parameters()), retain_graph=True)
            paint_gradient = torch.autograd.grad(_entropy(of_drawn, ones), list(paint.parameters()))
            for network, gradients in ((judge, judge_gradient), (paint, paint_gradient)):
                for weight, gradient in zip(network.parameters(), gradients, strict=True):
                    weight.grad = gradient
            painting.step()
            judging.step()

    for (name, value), expected in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        # Adam divides by the gradient's own size: where that is near 0, rounding decides.
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-4, msg=name)


_entropy = F.binary_cross_entropy_with_logits


def test_each_network_gets_its_own_gradient_and_no_other() -> None:
    seed_everything(0)
    networks = Adversaries(generator(), discriminator())
    of_real, of_drawn, as_generator = networks(torch.rand(8, 1, 8, 8))
    torch.testing.assert_close(of_drawn, as_generator)  # the same question, asked for two purposes
    reached = {
        name: {
            part
            for part, network in networks.named_children()
            if any(grad is not None for grad in _gradients(logits, network))
        }
        for name, logits in [("real", of_real), ("drawn", of_drawn), ("as_generator", as_generator)]
    }
    assert reached == {"real": {"discriminator"}, "drawn": {"discriminator"}, "as_generator": {"generator"}}


def _gradients(logits: Tensor, network: nn.Module) -> tuple[Tensor | None, ...]:
    weights = list(network.parameters())
    return torch.autograd.grad(logits.sum(), weights, retain_graph=True, allow_unused=True)


def test_the_discriminators_running_averages_count_each_picture_once() -> None:
    seed_everything(0)
    networks = Adversaries(generator(), discriminator())
    networks(torch.rand(8, 1, 8, 8))
    counted = {name: int(value) for name, value in networks.state_dict().items() if name.endswith("batches_tracked")}
    assert set(counted.values()) == {1, 2}  # the generator's: one batch; the discriminator's: a real and a drawn one
    assert all(count == 2 for name, count in counted.items() if name.startswith("discriminator"))


# ------------------------------------------------------------------------------------------ what the score says of whom


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Real digits in three parts, and the judge."""

    fresh: Tensor  # (360, 1, 8, 8): what a perfect generator would draw
    named: Tensor  # (360,)
    train: Tensor
    unseen: Tensor
    unseen_named: Tensor
    judge: nn.Module

    def scores(self, pictures: Tensor) -> SampleScores:
        judged = predict(self.judge, pictures, settings=Settings())
        return score(pictures, judged, self.train, self.unseen, self.unseen_named)

    def holds(self, pictures: Tensor) -> bool:
        return Result(**dataclasses.asdict(self.scores(pictures)), gaussian_recognised=0.5).holds()

    def one_a_digit(self) -> Tensor:
        return torch.stack([self.fresh[self.named == digit][0] for digit in range(10)])


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    images, classes = digits()
    rows, unseen = split(classes, 0.2, seed=0)
    fresh, train = rows[:360], rows[360:]
    judge = gan.trained_judge(Settings())
    return Gallery(images[fresh], classes[fresh], images[train], images[unseen], classes[unseen], judge)


def test_real_pictures_pass(gallery: Gallery) -> None:
    assert gallery.holds(gallery.fresh), gallery.scores(gallery.fresh)


def one_picture(real: Gallery) -> Tensor:
    return real.fresh[:1].repeat(360, 1, 1, 1)


def one_picture_a_digit(real: Gallery) -> Tensor:
    return real.one_a_digit().repeat(36, 1, 1, 1)


def the_average_of_each_digit(real: Gallery) -> Tensor:
    means = [real.fresh[real.named == digit].mean(dim=0) for digit in range(10)]
    return torch.stack(means).repeat(36, 1, 1, 1)


def nearly_one_picture_a_digit(real: Gallery) -> Tensor:
    seed_everything(0)
    return (one_picture_a_digit(real) + 0.05 * torch.randn(360, 1, 8, 8)).clamp(0, 1)


def ninety_pictures_again_and_again(real: Gallery) -> Tensor:
    return real.fresh[:90].repeat(4, 1, 1, 1)


def no_eights(real: Gallery) -> Tensor:
    return real.fresh[real.named != 8]


def one_three_only(real: Gallery) -> Tensor:
    return torch.where((real.named == 3).view(-1, 1, 1, 1), real.one_a_digit()[3], real.fresh)


def training_pictures(real: Gallery) -> Tensor:
    return real.train[:360]


def training_pictures_under_noise(real: Gallery) -> Tensor:
    seed_everything(0)
    return (real.train[:360] + 0.1 * torch.randn(360, 1, 8, 8)).clamp(0, 1)


def noise(real: Gallery) -> Tensor:
    seed_everything(0)
    return torch.rand_like(real.fresh)


def a_gaussian(real: Gallery) -> Tensor:
    return gaussian_pictures(real.train, 360, seed=0)


@pytest.mark.parametrize(
    ("generate", "noticed_by"),
    [
        (one_picture, "classes"),
        (one_picture_a_digit, "repeating"),
        (the_average_of_each_digit, "repeating"),
        (nearly_one_picture_a_digit, "repeating"),
        (ninety_pictures_again_and_again, "repeating"),
        (no_eights, "poorest_digit"),
        (one_three_only, "repeating"),
        (training_pictures, "copying"),
        (training_pictures_under_noise, "copying"),
        (noise, "coverage"),
        (a_gaussian, "recognised"),
    ],
    ids=lambda value: value.__name__ if callable(value) else value,
)
def test_a_bad_generator_fails(gallery: Gallery, generate: Callable[[Gallery], Tensor], noticed_by: str) -> None:
    pictures = generate(gallery)
    assert not gallery.holds(pictures)
    good = gallery.scores(gallery.fresh)
    worst = getattr(gallery.scores(pictures), noticed_by)
    assert not Result(**(dataclasses.asdict(good) | {noticed_by: worst}), gaussian_recognised=0.5).holds()


@pytest.mark.slow
def test_a_gan_that_collapses_in_training_fails(gallery: Gallery) -> None:
    # Without BatchNorm, at the same rates, the generator draws the same few pictures whatever the noise.
    scores = gallery.scores(drawn_after_training(gallery.train, epochs=8, without=nn.BatchNorm2d))
    assert scores.repeating > 0.95
    assert scores.coverage < 0.1


def test_classes_are_counted_by_how_evenly_they_come() -> None:
    assert effective_classes(torch.arange(10), classes=10) == pytest.approx(10)
    assert effective_classes(torch.tensor([0, 0, 1, 1]), classes=10) == pytest.approx(2)
    assert 1 < effective_classes(torch.tensor([0] * 9 + [1]), classes=10) < 1.5
