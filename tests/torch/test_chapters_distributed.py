"""Each chapter on two processes, as torchrun starts it: replicas (DDP) and parts (FSDP2), for one epoch.

With `--seeds 0`, as in CI, those that take long are left out (LONG in conftest.py).
"""

from __future__ import annotations

from itertools import islice

import pytest
from processes import together

from workstation.examples import translation, wordpiece
from workstation.examples.catalog import chapter
from workstation.training.loop import Fit, Hook
from workstation.training.metrics import as_numbers
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

# No dropout, which each rank draws for itself, and no BatchNorm, which sees a rank's rows alone.
EXACT = {"linear_regression", "logistic_regression", "anomaly", "sequence", "recommendation"}
FIRST_STEPS = 10  # Adam divides by what is small at first: rounding grows from step to step


class Curves(Hook):
    """The loss of each fit's first steps."""

    def __init__(self) -> None:
        self.curves: dict[str, list[float]] = {}

    def end(self, fit: Fit) -> None:
        self.curves[fit.name] = list(islice(fit.curve, FIRST_STEPS))


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True], ids=["ddp", "fsdp2"])
def test_two_processes_bring_it_to_its_end(chapter_name: str, shard: bool) -> None:
    first, second = together(2, run_briefly, chapter_name, shard)
    assert isinstance(first, dict), first
    assert first == second, "the ranks do not agree on the losses"
    if chapter_name in EXACT:
        alike(first, run_briefly(chapter_name, shard=False))


def test_translation_weighs_the_pieces_of_all_processes_alike() -> None:
    """Sentences differ in length: a mean over each rank's pieces is not the mean over all."""
    (first, second), alone = together(2, translate), translate()
    assert first == second
    alike(first, alone)


def translate() -> dict[str, list[float]]:
    learnt = translation.to_learn_and_to_test(seed=0)[0][:64]
    tokenizer = wordpiece.learn(text for sentence in learnt for text in (sentence.english, sentence.chinese))
    seed_everything(0)
    kept, translator = Curves(), translation.Translator(tokenizer.get_vocab_size())
    translation.train(translator, *translation.both_ways(tokenizer, learnt), Settings(epochs=1), [kept])
    return kept.curves


def alike(curves: dict[str, list[float]], others: dict[str, list[float]]) -> None:
    assert curves.keys() == others.keys() != set()
    for name, losses in curves.items():
        assert losses == pytest.approx(others[name], abs=1e-6, rel=0), name


def run_briefly(name: str, shard: bool) -> dict[str, list[float]]:
    if name == "llm_finetune":  # `epochs` shortens its lesson, not the reading before it
        from workstation.examples import llm_finetune

        llm_finetune.READING = 1
    kept = Curves()
    assert as_numbers(chapter(name).load().run(Settings(epochs=1, shard=shard), [kept]))
    return kept.curves
