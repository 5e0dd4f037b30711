"""Digits by a CNN, and what was wrong with the article's."""

from __future__ import annotations

import pytest
import torch

from workstation.examples import cnn
from workstation.examples.datasets import digits
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings


@pytest.mark.slow
def test_98_in_100_unseen_digits_are_read(settings: Settings) -> None:
    result = cnn.run(settings)
    assert result.holds(), result


def test_the_same_seed_gives_the_same_bits() -> None:
    assert cnn.run(Settings(seed=1, epochs=1)) == cnn.run(Settings(seed=1, epochs=1))


def test_a_run_cut_short_breaks_the_promise() -> None:
    assert not cnn.run(Settings(epochs=1)).holds()


def test_the_articles_net_runs_on_6_by_6_pictures_and_on_no_others() -> None:
    net = cnn.article_net()
    assert sum(parameter.numel() for parameter in net.parameters()) == 4_805_514
    assert net(torch.zeros(2, 3, 6, 6)).shape == (2, 10)
    for side, flat in [(5, 3200), (8, 8192), (28, 100_352), (32, 131_072)]:
        assert cnn.flat_features(side, pooled=False) == flat
        with pytest.raises(RuntimeError, match=rf"2x{flat} and 4608x1024"):
            net(torch.zeros(2, 3, side, side))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("side", "flat"), [(8, 512), (24, 4608), (28, 6272), (30, 6272), (32, 8192)])
def test_two_poolings_mend_it_for_any_side(side: int, flat: int, channels: int) -> None:
    pictures = torch.zeros(2, channels, side, side)
    assert cnn.flat_features(side, pooled=True) == flat
    assert cnn.article_net(channels, pooled=True, side=side)(pictures).shape == (2, 10)
    assert cnn.convnet(side, channels)(pictures).shape == (2, 10)


def test_evaluating_in_training_mode_answers_differently_each_time() -> None:
    images, _ = digits()
    seed_everything(0)
    net = cnn.convnet(side=8)
    assert not torch.equal(net(images[:9]), net(images[:9]))  # dropout is on
    net.eval()
    assert torch.equal(net(images[:9]), net(images[:9]))


def test_moving_keeps_the_shape_and_the_range_and_changes_every_picture() -> None:
    images, _ = digits()
    seed_everything(0)
    moved = cnn.move(images[:50])
    assert moved.shape == images[:50].shape
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert (moved - images[:50]).abs().amax(dim=(1, 2, 3)).min() > 0
    assert torch.allclose(cnn.move(images[:50], most=0.0).mean(), images[:50].mean(), atol=0.02)


def test_the_articles_accuracy_is_one_its_formula_never_prints() -> None:
    printed, nearest = 93.33333333333334, 93.33333333333333  # two different doubles
    shown = {100 * right / rows for rows in range(1, 2000) for right in (14 * rows // 15, 14 * rows // 15 + 1)}
    assert nearest in shown
    assert printed not in shown
