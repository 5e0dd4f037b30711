"""A language model from scratch: text, tokens, a decoder, a loss that goes down (A1 §1.1; A2 §1.1).

The article's title promises large models, and it trains none. This one is small, and whole: it learns from sixty
modules of Python's own library, and predicts unseen ones better than a 5-gram model that has counted the same text.
What it does not do is understand them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workstation.llm import evaluate
from workstation.llm.corpus import StandardLibrary
from workstation.llm.data import TRAIN, VALIDATION, Data, Rows, Stretches
from workstation.llm.model import Decoder
from workstation.llm.prepare import prepare
from workstation.llm.pretrain import decoder, pretrain
from workstation.llm.settings import Preset, Recipe, Shape
from workstation.llm.tokens import Tokenizer
from workstation.training.loop import Hook
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

SOURCE = StandardLibrary(first=60)
PRESET = Preset(
    "lesson",
    Shape(vocabulary=2048, width=128, layers=2, heads=4, kv_heads=2, hidden=384, context=128),
    Recipe(batch=8, accumulate=1, steps=720, stretch=80, rate=1e-2, warmup=72, optimizer="muon", masked=True),
)

DATA = f"60 modules of Python's own standard library ({SOURCE.licence}), six of them kept aside"
PROMISE = "a loss on unseen modules below that of a 5-gram model (interpolated Kneser-Ney) of the same text"


@dataclass(frozen=True)
class Result:
    """Nats a token on modules that were kept aside, and the trained model's bits a byte."""

    uniform: float  # every token as likely as any other
    untrained: float
    five_grams: float
    trained: float
    bits_per_byte: float

    def holds(self) -> bool:
        return self.trained < self.five_grams < self.untrained


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    with tempfile.TemporaryDirectory() as directory:
        data = prepare(SOURCE, Path(directory) / "code", PRESET.shape.vocabulary)
        seed_everything(settings.seed)
        model = decoder(PRESET, settings.device)
        before = score(model, data, settings)
        train(model, data, settings, hooks)
        after = score(model, data, settings)
        counted = evaluate.counted(data)
        assert counted is not None, "it is small enough to be counted"
        return Result(evaluate.uniform(data).loss, before.loss, counted.loss, after.loss, after.bits_per_byte)


def train(model: Decoder, data: Data, settings: Settings, hooks: Sequence[Hook] = ()) -> list[float]:
    """An epoch is a stretch of 80 steps; the loss of each."""
    recipe = PRESET.recipe
    if settings.epochs:
        recipe = replace(recipe, steps=settings.epochs * recipe.stretch, warmup=settings.epochs * recipe.stretch // 10)
    rows = Rows(data, TRAIN, PRESET.shape.context)
    batches = Stretches(rows, recipe.batch, recipe.stretch, settings.seed, recipe.masked)
    return pretrain(model, batches, recipe, settings, hooks)


def score(model: Decoder, data: Data, settings: Settings) -> evaluate.Score:
    lengths = Tokenizer.load(data.directory).byte_lengths()
    return evaluate.score(model, Rows(data, VALIDATION, PRESET.shape.context), lengths, settings)
