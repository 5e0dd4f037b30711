"""A language model is taught to answer: LoRA on a chat template, with the loss on the answers alone (A1 §1.1).

A model that has only read goes on with a text. Shown a question, it would write more questions. A few hundred answered
ones, and additions to its weights that are an eighth of their number, make it answer in form.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workstation.examples import llm_pretrain
from workstation.examples.llm_pretrain import PRESET, SOURCE
from workstation.llm import answers, export, instructions
from workstation.llm.answers import Rows
from workstation.llm.causal import Causal
from workstation.llm.finetune import AnswerLoss, Tuning, adapt, answer_loss, counted_loss, finetune
from workstation.llm.prepare import prepare
from workstation.llm.pretrain import decoder
from workstation.llm.tokens import Tokenizer
from workstation.llm.tuning import crossed_answers
from workstation.training.loop import Hook
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

MODULES = SOURCE.first
READING = 2  # of chapter 30's nine stretches: enough to see what is learnt afterwards
TUNING = Tuning("the model of chapter 30", batch=8, epochs=3)

DATA = f"functions of {MODULES} modules of Python's standard library (PSF-2.0): signature and docstring, six kept aside"
PROMISE = "an unseen answer's token costs 0.5 nats less than before, and than by counting tokens"


@dataclass(frozen=True)
class Result:
    """Nats a token of the answers on functions of unseen modules."""

    counted: float  # each token as likely as among all answers
    before: float
    after: float
    anothers_question: float  # after, each answer below another's question: so small a model hardly sees a difference

    def holds(self) -> bool:
        return self.after + 0.5 < self.before and self.after + 0.5 < self.counted


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    base = pretrained(settings, hooks)
    train, unseen, crossed = rows(base)
    model = AnswerLoss(adapt(base.model, TUNING))
    before = answer_loss(model, unseen, settings)
    tune(model, train, settings, hooks)
    return Result(
        counted_loss(train, unseen, len(base.tokenizer)),
        before,
        answer_loss(model, unseen, settings),
        answer_loss(model, crossed, settings),
    )


def pretrained(settings: Settings, hooks: Sequence[Hook] = ()) -> Causal:
    """Chapter 30's model after two ninths of its training, for transformers, its tokenizer with a chat template."""
    with tempfile.TemporaryDirectory() as directory:
        data = prepare(SOURCE, Path(directory) / "code", PRESET.shape.vocabulary)
        tokenizer = export.as_transformers(Tokenizer.load(data.directory), PRESET.shape.context)
        answers.give_chat_template(tokenizer)
        seed_everything(settings.seed)
        model = decoder(PRESET, settings.device)
        llm_pretrain.train(model, data, replace(settings, epochs=READING), hooks)
    return Causal("lesson", export.as_llama(model).to(settings.device), tokenizer)


def rows(base: Causal) -> tuple[Rows, Rows, Rows]:
    """To learn from, to measure on, and to measure on with questions and answers that do not belong together."""
    data = instructions.docstrings(MODULES)
    sets = (data.train, data.held_out, crossed_answers(data.held_out))
    train, unseen, crossed = (answers.rows(exchanges, base.tokenizer, base.context) for exchanges in sets)
    return train, unseen, crossed


def tune(model: AnswerLoss, train: Rows, settings: Settings, hooks: Sequence[Hook] = ()) -> list[float]:
    """The loss of each pass over the questions."""
    return finetune(model, train, replace(TUNING, epochs=settings.epochs or TUNING.epochs), settings, hooks)
