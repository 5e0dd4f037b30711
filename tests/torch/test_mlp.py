"""MLP regression, and cleaning that learns from the training rows alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler

from workstation.examples import mlp
from workstation.examples.cleaning import Cleaner
from workstation.examples.datasets import diabetes, folds
from workstation.training.settings import Settings


@pytest.mark.slow
def test_a_spoilt_table_still_predicts_and_a_network_bends(settings: Settings) -> None:
    result = mlp.run(settings)
    assert result.holds(), result


def test_the_same_seed_trains_to_the_same_bits() -> None:
    first, second = (mlp.run(Settings(seed=1, epochs=2)) for _ in range(2))
    assert (first.r2, first.bent_mse) == (second.r2, second.bent_mse)
    # The plane is solved by LAPACK, whose last digits depend on where memory happens to lie.
    assert first.bent_plane_mse == pytest.approx(second.bent_plane_mse, rel=1e-5)


def test_a_run_cut_short_breaks_the_promise() -> None:
    assert not mlp.run(Settings(epochs=1)).holds()


def test_a_target_that_means_nothing_breaks_the_promise() -> None:
    table, target = diabetes()
    shuffled = target[torch.randperm(len(target), generator=torch.Generator().manual_seed(0))]
    assert mlp.cross_validated(table, shuffled, Settings()) < 0.05


def test_the_articles_cleaning_fails_on_a_mixed_table() -> None:
    mixed = pd.DataFrame({"age": [40.0, None], "sex": ["F", "M"]})
    with pytest.raises(TypeError):
        mixed.fillna(mixed.mean())
    empty_column = pd.DataFrame({"age": [40.0, 50.0], "remark": [np.nan, np.nan]})
    assert len(empty_column.fillna(empty_column.mean()).dropna()) == 0


def test_a_scaler_fitted_on_everything_hides_what_is_new() -> None:
    train, test = np.array([[1.0], [2.0], [3.0]]), np.array([[4.0]])
    assert MinMaxScaler().fit(train).transform(test).item() == 1.5
    assert MinMaxScaler().fit(np.vstack([train, test])).transform(test).item() == 1.0


def test_gaps_become_the_median_and_are_marked() -> None:
    train = pd.DataFrame({"bp": [100.0, 110, None, "n/a", 120, 90, 105, 100000]}, dtype=object)
    cleaned = Cleaner.learn(train)(train)
    assert cleaned[:, 1].tolist() == [0, 0, 1, 1, 0, 0, 0, 1]  # missing, unreadable, impossible
    assert cleaned[2:4, 0].tolist() == [107.5, 107.5]
    assert cleaned[7, 0] == 107.5
    assert cleaned[0, 0] == 100


def test_words_become_one_column_each_and_a_new_word_none() -> None:
    cleaner = Cleaner.learn(pd.DataFrame({"sex": ["F", "M", "F"], "remark": [None, None, None]}))
    assert cleaner(pd.DataFrame({"sex": ["M", "F", "X"]})).tolist() == [[0, 1], [1, 0], [0, 0]]


def test_nothing_is_learnt_from_the_rows_kept_aside() -> None:
    table = pd.DataFrame({"bp": [100.0, 110, 120, 130, 10_000]})
    assert Cleaner.learn(table.iloc[:4]) != Cleaner.learn(table)
    changed = table.assign(bp=[100.0, 110, 120, 130, 55])
    assert Cleaner.learn(table.iloc[:4]) == Cleaner.learn(changed.iloc[:4])


def test_every_row_is_tested_on_once() -> None:
    parts = folds(442, 5, seed=0)
    assert sorted(torch.cat([test for _, test in parts]).tolist()) == list(range(442))
    assert all(set(train.tolist()).isdisjoint(test.tolist()) and len(train) + len(test) == 442 for train, test in parts)


def test_a_spoilt_table_has_no_tensor_of_its_own() -> None:
    table, _ = diabetes()
    spoilt = mlp.spoil(table, seed=0)
    with pytest.raises((TypeError, ValueError)):
        torch.tensor(spoilt.to_numpy(), dtype=torch.float32)
    assert torch.isfinite(Cleaner.learn(spoilt)(spoilt)).all()
    assert table.equals(diabetes()[0]), "the original is left as it was"
