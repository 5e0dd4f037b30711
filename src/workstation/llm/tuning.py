"""One fine-tuning: what it was told, where it keeps itself, how it goes on after a stop, what came of it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from workstation.doctor.units import size
from workstation.errors import SettingError
from workstation.llm import answers, causal, instructions
from workstation.llm.answers import Rows
from workstation.llm.causal import TUNED, Causal, Check
from workstation.llm.export import new_directory
from workstation.llm.finetune import (
    NAME,
    AnswerLoss,
    Tuning,
    adapt,
    answer_loss,
    counted_loss,
    finetune,
    quantisation,
    recipe_for,
)
from workstation.llm.instructions import Exchange, Instructions
from workstation.llm.memory import RESERVE, MemoryTooSmallError
from workstation.llm.run import ABOUT, CHECKPOINT_SECONDS, METRICS
from workstation.training import device, rundir
from workstation.training.checkpoint import Checkpoints
from workstation.training.progress import ProgressBar
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings
from workstation.training.tensorboard import TensorBoardLog

# Bytes of a weight, at least: as it is kept; and, where it is trained, its gradient and Adam's two means beside it.
BYTES = {"full": 16.0, "lora": 2.0, "qlora": 0.55}


@dataclass(frozen=True)
class Lesson:
    """A model and the conversations it is to learn from, as it reads them."""

    base: Causal
    data: Instructions
    train: Rows
    held_out: Rows
    crossed: Rows  # the held-out questions with one another's answers

    @classmethod
    def prepare(cls, tuning: Tuning, on: torch.device) -> Lesson:
        """All that can be wrong with a model or with data shows here."""
        recipe_for(tuning, 1, 1)  # before a large model is read
        data = instructions.find(tuning.data)
        base = load(tuning, on)
        answers.give_chat_template(base.tokenizer)
        length = min(tuning.length, base.context)
        sets = (data.train, data.held_out, crossed_answers(data.held_out))
        return cls(base, data, *(answers.rows(exchanges, base.tokenizer, length) for exchanges in sets))


@dataclass(frozen=True)
class TuningRun:
    """A lesson in a directory of its own. The result lies in `directory`/model."""

    tuning: Tuning
    lesson: Lesson
    settings: Settings
    directory: Path

    @classmethod
    def new(cls, tuning: Tuning, on: torch.device, out: Path | None) -> TuningRun:
        """The directory is made last: what cannot be used leaves nothing behind."""
        if Path(tuning.model).is_dir():  # the run may be resumed from elsewhere
            tuning = replace(tuning, model=str(Path(tuning.model).resolve()))
        lesson = Lesson.prepare(tuning, on)
        run = cls(tuning, lesson, _settings(tuning, on), rundir.create(f"llm-{NAME}", out))
        rundir.write_json(run.directory / ABOUT, {NAME: tuning.as_dict()})
        return run

    @classmethod
    def stopped(cls, directory: Path, on: torch.device) -> TuningRun:
        """The run that `directory` holds. SettingError where it holds none, or one that is over."""
        try:
            tuning = Tuning(**json.loads((directory / ABOUT).read_text())[NAME])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingError(
                f"--resume {directory} holds no fine-tuning", remedy="Name a directory that `finetune` made."
            ) from error
        if (directory / TUNED).exists():
            raise SettingError(
                f"--resume {directory} is finished", remedy="Its model can be served, exported, or tuned further."
            )
        return cls(tuning, Lesson.prepare(tuning, on), _settings(tuning, on), directory)

    def train(self) -> dict[str, Any]:
        """Train to the end, keep the model and metrics.json; the report."""
        lesson, settings, base = self.lesson, self.settings, self.lesson.base
        began = time.perf_counter()
        seed_everything(self.tuning.seed)
        model = AnswerLoss(adapt(base.model, self.tuning))
        report: dict[str, Any] = {
            NAME: self.tuning.as_dict(),
            "origin": lesson.data.origin,
            "licence": lesson.data.licence,
            "device": device.describe(settings.device),
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "trained": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
            "conversations": {"train": lesson.train.conversations, "held_out": lesson.held_out.conversations},
            "too_long": lesson.train.too_long + lesson.held_out.too_long,
            "rows": len(lesson.train),
            "filled": lesson.train.filled,
            "counted_loss": counted_loss(lesson.train, lesson.held_out, base.model.config.vocab_size),
            "loss_before": answer_loss(model, lesson.held_out, settings),
        }
        hooks = [Checkpoints(self.directory, CHECKPOINT_SECONDS), TensorBoardLog(self.directory), ProgressBar()]
        losses = finetune(model, lesson.train, self.tuning, settings, hooks)
        # Left to itself, PEFT asks the hub whether the embedding is still the base's. It is: no row was added.
        told = {} if self.tuning.method == "full" else {"save_embedding_layers": False}
        with new_directory(self.directory / TUNED) as partial:
            model.model.save_pretrained(partial, **told)
            base.tokenizer.save_pretrained(partial)
        report |= {
            "training_losses": losses,
            "loss_after": answer_loss(model, lesson.held_out, settings),
            "loss_with_anothers_question": answer_loss(model, lesson.crossed, settings),
            "peak_memory": torch.cuda.max_memory_allocated() if settings.device.type == "cuda" else None,
            "seconds": round(time.perf_counter() - began, 1),
        }
        rundir.write_json(self.directory / METRICS, report)
        return report


def load(tuning: Tuning, on: torch.device) -> Causal:
    """The model to tune, its weights in the precision that the method trains or freezes them in."""
    half = on.type == "cuda" and tuning.method != "full"
    found = causal.load(
        tuning.model,
        on,
        dtype="bfloat16" if half else "float32",
        quantisation=quantisation(tuning.method, on),
        check=_check(tuning.method, on),
    )
    if hasattr(found.model, "merge_and_unload"):
        raise SettingError(
            f"{tuning.model} is an adapter, not a model",
            remedy=f"Merge it first: workstation llm export {tuning.model} --out DIR.",
        )
    return found


def must_fit(parameters: int, method: str, available: int, where: str) -> None:
    """MemoryTooSmallError where not even the weights, and what belongs to each, fit into `available` bytes."""
    needed, usable = int(parameters * BYTES[method]), int(available * (1 - RESERVE))
    if needed <= usable:
        return
    fitting = [other for other, each in BYTES.items() if parameters * each <= usable]
    raise MemoryTooSmallError(
        f"{method} of {parameters:,} weights needs {size(needed)} before the first activation, and {where} has "
        f"{size(usable)} to give",
        remedy=f"--method {fitting[0]} would fit." if fitting else "No method fits: choose a smaller model.",
    )


def crossed_answers(exchanges: tuple[Exchange, ...]) -> list[Exchange]:
    """Each question with the next one's answer: a model that reads the question finds these less likely."""
    following = exchanges[1:] + exchanges[:1]
    return [
        Exchange((*asked.messages[:-1], other.messages[-1])) for asked, other in zip(exchanges, following, strict=True)
    ]


def _check(method: str, on: torch.device) -> Check:
    if on.type != "cuda":
        return None
    available, where = torch.cuda.get_device_properties(on).total_memory, device.describe(on)
    return lambda parameters: must_fit(parameters, method, available, where)


def _settings(tuning: Tuning, on: torch.device) -> Settings:
    return Settings(on, tuning.seed, amp=on.type == "cuda")
