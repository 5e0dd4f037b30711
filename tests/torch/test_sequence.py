"""RNN and LSTM: the order of the symbols decides."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from workstation.examples import sequence
from workstation.examples.sequence import LENGTH, Reader, brackets, counts, gradient_reach, is_balanced
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings


@pytest.mark.slow
def test_an_lstm_learns_what_counting_cannot(settings: Settings) -> None:
    result = sequence.run(settings)
    assert result.holds(), result


def test_the_same_seed_gives_the_same_bits() -> None:
    assert sequence.run(Settings(seed=1, epochs=1)) == sequence.run(Settings(seed=1, epochs=1))


def test_a_run_cut_short_breaks_the_promise() -> None:
    assert not sequence.run(Settings(epochs=1)).holds()


def test_balance_is_what_a_stack_says() -> None:
    for string in itertools.product((0, 1), repeat=8):
        depth, good = 0, True
        for symbol in string:
            depth += 1 if symbol else -1
            good = good and depth >= 0
        assert bool(is_balanced(torch.tensor([string]))) == (good and depth == 0)


def test_no_string_occurs_twice_so_unseen_is_unseen() -> None:
    strings, balanced = brackets(2648, LENGTH, seed=0)
    assert len({tuple(string) for string in strings.tolist()}) == len(strings) == 2648
    assert balanced.sum() == 1324


def test_neither_counts_nor_ends_tell_the_two_kinds_apart() -> None:
    strings, _ = brackets(600, LENGTH, seed=0)
    assert torch.equal(counts(strings), torch.full((600, 2), 0.5))
    assert strings[:, 0].all()
    assert not strings[:, -1].any()


def test_an_lstms_gradient_reaches_further_back_than_an_rnns() -> None:
    seed_everything(0)
    rnn, lstm = gradient_reach(Reader(nn.RNN), steps=40), gradient_reach(Reader(nn.LSTM), steps=40)
    assert rnn[0] < 1e-6 * rnn[-1]
    assert lstm[0] > 1e-6 * lstm[-1]
    assert lstm[0] > 10 * rnn[0]
