"""House prices: the promise holds for every seed, and the article's own numbers are shown to be wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from workstation.examples import house_price
from workstation.examples.house_price import AREA, PRICE, gradient, mse
from workstation.training.loop import DivergedError, fit
from workstation.training.settings import Settings


def test_the_price_of_1200_is_240000_within_one_percent(settings: Settings) -> None:
    result = house_price.run(settings)
    assert result.holds(), result
    assert result.last_loss < 1e-6 * result.first_loss


def test_the_same_seed_gives_the_same_bits() -> None:
    assert house_price.run(Settings(seed=3)) == house_price.run(Settings(seed=3))
    assert house_price.run(Settings(seed=3)) != house_price.run(Settings(seed=4))


def test_the_articles_own_settings_never_leave_the_start(settings: Settings) -> None:
    result = house_price.run_as_printed(settings)
    assert not result.holds()
    assert 0.2 < result.price_of_1200 < 3.2
    assert result.last_loss > 0.9999 * result.first_loss


def test_too_few_epochs_break_the_promise() -> None:
    assert not house_price.run(Settings(epochs=3)).holds()


def test_the_error_and_gradient_at_zero_are_not_the_articles() -> None:
    assert mse(0, 0) == pytest.approx(290e9 / 3)  # printed: 1e8
    assert gradient(0, 0) == pytest.approx((-600_000, -1.45e9 * 2 / 3))  # printed: -600 000, -4e6
    assert mse(0, 200) == 0


def test_the_gradient_by_hand_is_autograds() -> None:
    for point in [(0.0, 0.0), (6000.0, 40_000.0), (-5.0, 199.0)]:
        beta = torch.tensor(point, dtype=torch.float64, requires_grad=True)
        (PRICE.double() - beta[0] - beta[1] * AREA.double()).square().mean().backward()
        assert torch.allclose(beta.grad, torch.tensor(gradient(*point), dtype=torch.float64), rtol=1e-12)


def test_the_curvature_bounds_the_stable_rate() -> None:
    smallest, largest = torch.linalg.eigvalsh(house_price.curvature()).tolist()
    assert 2 / largest == pytest.approx(4.14e-7, rel=1e-3)
    assert largest / smallest == pytest.approx(3.5e7, rel=2e-3)

    def mse_after_100_steps(rate: float) -> float:
        intercept = slope = 0.0
        for _ in range(100):
            d_intercept, d_slope = gradient(intercept, slope)
            intercept, slope = intercept - rate * d_intercept, slope - rate * d_slope
        return mse(intercept, slope)

    assert mse_after_100_steps(0.99 * 2 / largest) < mse(0, 0)
    assert mse_after_100_steps(1.01 * 2 / largest) > mse(0, 0)


def test_one_step_of_the_articles_rate_makes_it_worse() -> None:
    d_intercept, d_slope = gradient(0, 0)
    intercept, slope = -0.01 * d_intercept, -0.01 * d_slope
    assert intercept == pytest.approx(6000)
    assert slope == pytest.approx(9_666_666.67)  # printed: 40 000
    assert mse(intercept, slope) == pytest.approx(2.26e20, rel=1e-2)


def test_plain_descent_at_the_articles_rate_is_stopped_when_it_diverges() -> None:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with pytest.raises(DivergedError, match="epoch"):
        fit(model, [(AREA, PRICE)], F.mse_loss, optimizer, epochs=100, settings=Settings())


@pytest.mark.gpu
def test_cpu_and_gpu_agree() -> None:
    cpu = house_price.run(Settings(torch.device("cpu")))
    gpu = house_price.run(Settings(torch.device("cuda")))
    assert math.isclose(cpu.price_of_1200, gpu.price_of_1200, rel_tol=1e-4)
