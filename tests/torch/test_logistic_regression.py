"""Logistic regression, and the scores by which any classifier here is judged."""

from __future__ import annotations

import pytest
import torch
from sklearn import metrics

from workstation.examples import logistic_regression
from workstation.examples.datasets import BREAST_CANCER, DataError, breast_cancer, split
from workstation.training.scores import Confusion, accuracy, roc_auc
from workstation.training.settings import Settings


def test_tumours_are_told_apart_on_unseen_patients(settings: Settings) -> None:
    result = logistic_regression.run(settings)
    assert result.holds(), result
    assert result.accuracy > result.accuracy_of_always_benign + 0.25


def test_the_same_seed_gives_the_same_bits() -> None:
    assert logistic_regression.run(Settings(seed=1)) == logistic_regression.run(Settings(seed=1))


def test_calling_everyone_healthy_breaks_the_promise() -> None:
    truth = breast_cancer()[1]
    none = Confusion.count(torch.zeros_like(truth), truth)
    assert none.accuracy == pytest.approx(357 / 569)
    lazy = logistic_regression.Result(none.accuracy, none.precision, none.recall, none.f1, 0.5, none.accuracy)
    assert not lazy.holds()


def test_every_score_is_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(300, generator=generator) < 0.3).float()
    # Rounded to tenths: many rows share a score, which a careless ROC curve gets wrong.
    scores = ((truth + torch.randn(300, generator=generator)) * 10).round() / 10
    confusion = Confusion.count(scores > 0.5, truth)
    predicted = (scores > 0.5).float()
    assert confusion.accuracy == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert confusion.precision == pytest.approx(metrics.precision_score(truth, predicted))
    assert confusion.recall == pytest.approx(metrics.recall_score(truth, predicted))
    assert confusion.f1 == pytest.approx(metrics.f1_score(truth, predicted))
    assert roc_auc(scores, truth) == pytest.approx(metrics.roc_auc_score(truth, scores))
    assert roc_auc(torch.zeros(300), truth) == pytest.approx(0.5)


def test_rates_without_a_case_are_zero_not_an_error() -> None:
    nothing = Confusion.count(torch.zeros(3), torch.zeros(3))
    assert (nothing.accuracy, nothing.precision, nothing.recall, nothing.f1) == (1, 0, 0, 0)


def test_accuracy_takes_the_largest_logit() -> None:
    assert accuracy(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.tensor([1, 1])) == 0.5


def test_the_two_parts_share_no_patient_and_the_same_proportion() -> None:
    malignant = breast_cancer()[1]
    train, test = split(malignant, test_share=0.25, seed=0)
    assert set(train.tolist()).isdisjoint(test.tolist())
    assert len(train) + len(test) == 569
    assert malignant[train].mean().item() == pytest.approx(malignant[test].mean().item(), abs=0.01)


def test_data_that_are_not_the_known_ones_are_refused() -> None:
    rows = breast_cancer()[0].double().numpy()
    with pytest.raises(DataError, match="checksum"):
        BREAST_CANCER.checked(rows + 1e-3)
