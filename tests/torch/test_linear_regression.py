"""Linear regression: three ways to one line."""

from __future__ import annotations

import itertools

import pytest
import torch

from workstation.examples import linear_regression
from workstation.examples.linear_regression import data, descend, line_at, solve, standard_error
from workstation.training.settings import Settings


def test_the_three_ways_agree_and_find_the_truth(settings: Settings) -> None:
    result = linear_regression.run(settings)
    assert result.holds(), result


def test_the_same_seed_gives_the_same_bits() -> None:
    assert linear_regression.run(Settings(seed=2)) == linear_regression.run(Settings(seed=2))


def test_a_run_cut_short_breaks_the_promise() -> None:
    assert not linear_regression.run(Settings(epochs=2)).holds()


def test_the_solved_line_is_the_lowest_point() -> None:
    x, y = data(seed=0)

    def mse(intercept: float, slope: float) -> float:
        return (y.double() - intercept - slope * x.double()).square().mean().item()

    intercept, slope = solve(x, y)
    lowest = mse(intercept, slope)
    for step in (-1e-3, 1e-3):
        assert mse(intercept + step, slope) > lowest
        assert mse(intercept, slope + step) > lowest


def test_descent_never_climbs_and_ends_at_the_solved_line() -> None:
    x, y = data(seed=1)
    losses = [(y - line[0] - line[1] * x).square().mean().item() for line in descend(x, y)]
    assert all(after <= before + 1e-7 for before, after in itertools.pairwise(losses))
    assert descend(x, y)[-1] == pytest.approx(solve(x, y), abs=1e-4)


def test_the_standard_error_is_the_spread_over_many_draws() -> None:
    answers, errors = [], []
    for seed in range(400):
        x, y = data(seed)
        answers.append(line_at(solve(x, y)))
        errors.append(standard_error(x))
    spread = torch.tensor(answers).std().item()
    assert spread == pytest.approx(sum(errors) / len(errors), rel=0.15)
