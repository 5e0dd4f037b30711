"""A search that chooses by the validation rows, and an evaluation that says what the choice is worth."""

from __future__ import annotations

import optuna
import pytest
import torch
from optuna.samplers import RandomSampler

from workstation.examples import evaluation, tuning
from workstation.examples.datasets import digits
from workstation.examples.evaluation import (
    calibration_error,
    confusion_matrix,
    reliability,
    temperature,
    three_parts,
)
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings


@pytest.mark.slow
def test_the_search_finds_a_network_worth_the_trouble(settings: Settings) -> None:
    result = tuning.run(settings)
    assert result.holds(), result


def test_a_run_cut_short_breaks_the_promise() -> None:
    assert not tuning.run(Settings(epochs=1)).holds()


def test_the_same_seed_finds_the_same() -> None:
    first, second = (tuning.search(RandomSampler(seed=1), Settings(epochs=1), trials=3) for _ in range(2))
    assert [trial.value for trial in first.trials] == [trial.value for trial in second.trials]


def test_no_row_is_in_two_parts_and_none_is_left_out() -> None:
    parts = three_parts(seed=3)
    assert [len(rows) for rows in (parts.train, parts.validation, parts.test)] == [299, 300, 1198]
    assert sorted(torch.cat([parts.train, parts.validation, parts.test]).tolist()) == list(range(1797))


def test_the_search_is_blind_to_the_test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def values() -> list[float | None]:
        return [trial.value for trial in tuning.search(RandomSampler(seed=0), Settings(epochs=2), trials=3).trials]

    images, classes = digits()
    parts = three_parts(seed=0)
    monkeypatch.setattr(tuning, "three_parts", lambda _: parts)  # wrong classes would change the stratified draw
    right = values()
    spoilt = classes.clone()
    spoilt[parts.test] = 0
    for module in (tuning, evaluation):
        monkeypatch.setattr(module, "digits", lambda: (images, spoilt))
    assert values() == right
    spoilt[parts.validation] = 0
    assert values() != right


def test_every_sampler_gets_the_same_trials_and_the_grid_tries_each_point_once() -> None:
    studies = {name: tuning.search(sampler, Settings(epochs=1)) for name, sampler in tuning.samplers(0).items()}
    assert {len(study.trials) for study in studies.values()} == {tuning.TRIALS}
    assert len({tuple(trial.params.values()) for trial in studies["grid"].trials}) == tuning.TRIALS


def test_a_trial_that_diverges_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = iter([tuning.Choice(rate=1e30), tuning.Choice()])
    monkeypatch.setattr(tuning, "suggested", lambda _: next(choices))
    study = tuning.search(RandomSampler(), Settings(epochs=3), trials=2)
    assert [trial.state for trial in study.trials] == [optuna.trial.TrialState.FAIL, optuna.trial.TrialState.COMPLETE]


def test_a_confusion_matrix_has_the_truth_in_its_rows() -> None:
    matrix = confusion_matrix(said=torch.tensor([0, 2, 2, 1]), classes=torch.tensor([0, 1, 2, 1]), count=3)
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


def drawn(sharpened: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes drawn with exactly the chances that the logits name, then the logits multiplied."""
    seed_everything(0)
    logits = 2 * torch.randn(20_000, 10)
    return sharpened * logits, torch.multinomial(logits.softmax(1), 1).squeeze(1)


def test_honest_chances_have_no_calibration_error_and_boasting_ones_do() -> None:
    assert calibration_error(*drawn(sharpened=1)) < 0.02
    assert calibration_error(*drawn(sharpened=3)) > 0.15


def test_temperature_finds_how_much_was_boasted_and_changes_no_answer() -> None:
    logits, classes = drawn(sharpened=3)
    found = temperature(logits, classes)
    assert found == pytest.approx(3, rel=0.05)
    assert calibration_error(logits / found, classes) < 0.02
    assert torch.equal((logits / found).argmax(1), logits.argmax(1))


def test_each_row_falls_into_one_bin_by_how_sure_it_is() -> None:
    logits = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 2.0]])  # 0.5, 1.0 and 0.88 sure
    sure, right, rows = reliability(logits, torch.tensor([0, 0, 0]), bins=10)
    assert rows.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 1, 1]
    assert right[rows > 0].tolist() == [1, 0, 1]
    assert sure[rows > 0].tolist() == pytest.approx([0.5, 0.8808, 1.0], abs=1e-4)
