"""Frauds among payments: what accuracy hides, and what an autoencoder finds that values alone do not show."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from workstation.examples import anomaly
from workstation.examples.anomaly import alarm_accuracy, linear_scores, pr_auc
from workstation.examples.transactions import HONEST, LOUD, QUIET, payments
from workstation.training.settings import Settings


def test_an_autoencoder_finds_frauds_of_ordinary_values(settings: Settings) -> None:
    result = anomaly.run(settings)
    assert result.holds(), result


def test_a_run_cut_short_breaks_the_promise_and_repeats_to_the_bit() -> None:
    first, second = (anomaly.run(Settings(epochs=1)) for _ in range(2))
    assert not first.holds()
    assert first == second


def test_each_part_of_the_promise_can_be_broken() -> None:
    good = anomaly.Result(0.99, 0.99, 1.0, 0.1, 0.7, 0.9, 0.8, 0.9, 1.0, 1.0)
    assert good.holds()
    broken = {"quiet_forest": 0.6, "quiet_linear": 0.85, "loud_autoencoder": 0.9, "forest_accuracy": 0.9}
    for field, value in broken.items():
        assert not dataclasses.replace(good, **{field: value}).holds(), field


def test_one_in_a_hundred_is_a_fraud_and_half_of_those_are_quiet() -> None:
    rows, kinds = payments(20_000, seed=0)
    assert rows.shape == (20_000, 12)
    assert kinds.bincount().tolist() == [19_800, 100, 100]


def test_no_single_value_gives_a_quiet_fraud_away() -> None:
    rows, kinds = payments(400_000, seed=0)
    quiet, honest = rows[kinds == QUIET], rows[kinds == HONEST]
    for power in (1, 2, 3):
        error = honest.pow(power).std(dim=0) / len(quiet) ** 0.5
        assert ((quiet.pow(power).mean(dim=0) - honest.pow(power).mean(dim=0)).abs() < 4.5 * error).all()


def test_nor_does_a_weighted_sum_even_to_who_has_labels() -> None:
    (known, labels), (rows, kinds) = payments(20_000, seed=1), payments(20_000, seed=0)
    model = LogisticRegression(class_weight="balanced").fit(known, labels == QUIET)
    assert pr_auc(torch.from_numpy(model.decision_function(rows)), kinds, QUIET) < 0.1


def test_loud_frauds_have_three_values_that_nobody_has() -> None:
    rows, kinds = payments(20_000, seed=0)
    strange = (rows.abs() > 1.6).sum(dim=1)
    assert (strange[kinds == LOUD] == 3).all()
    assert (strange[kinds != LOUD] == 0).all()
    assert (rows[kinds == LOUD][:, :6].abs() < 1.6).all(), "the owner's own numbers are untouched"


def test_a_blind_score_has_the_pr_auc_of_the_share_and_a_perfect_one_has_1() -> None:
    kinds = payments(20_000, seed=0)[1]
    assert pr_auc(torch.zeros(20_000), kinds, QUIET) == pytest.approx(100 / 19_900)
    assert pr_auc((kinds == QUIET).float(), kinds, QUIET) == 1.0


def test_all_alarms_right_is_accuracy_1_and_all_wrong_is_still_98_percent() -> None:
    kinds = payments(20_000, seed=0)[1]
    assert alarm_accuracy((kinds != HONEST).float(), kinds) == 1.0
    assert alarm_accuracy((kinds == HONEST).float(), kinds) == pytest.approx(0.98)


def test_the_wider_a_linear_autoencoder_the_more_comes_back() -> None:
    rows, _ = payments(2_000, seed=0)
    errors = [linear_scores(rows, rows, width).mean() for width in (1, 4, 8, 12)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-8
