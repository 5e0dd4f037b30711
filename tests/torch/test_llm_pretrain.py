"""The lesson's promise: a minute of training beats counting."""

from __future__ import annotations

import math

import pytest

from workstation.examples import llm_pretrain
from workstation.examples.llm_pretrain import PRESET
from workstation.training.settings import Settings


@pytest.mark.slow
def test_a_minute_of_training_beats_counting_five_tokens(settings: Settings) -> None:
    result = llm_pretrain.run(settings)
    assert result.holds(), result
    assert result.untrained == pytest.approx(math.log(PRESET.shape.vocabulary), abs=0.1)


@pytest.mark.slow
def test_a_run_cut_short_breaks_the_promise() -> None:
    result = llm_pretrain.run(Settings(epochs=1))
    assert not result.holds(), result
    assert result.trained < result.uniform, "though it has begun to learn"
