"""One fine-tuning: what it was told, where it keeps itself, how it goes on after a stop, what came of it."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from workstation.doctor import cgroup
from workstation.doctor.units import size
from workstation.errors import SettingError
from workstation.llm import answers, causal, instructions
from workstation.llm.answers import Rows
from workstation.llm.causal import TUNED, Causal, Check
from workstation.llm.finetune import (
    NAME,
    AnswerLoss,
    Tuning,
    adapt,
    answer_loss,
    counted_loss,
    finetune,
    four_bits,
    keeps_apart,
    quantisation,
    recipe_for,
)
from workstation.llm.instructions import Exchange, Instructions
from workstation.llm.memory import MemoryTooSmallError, usable
from workstation.llm.run import CHECKPOINT_SECONDS, METRICS
from workstation.llm.watch import NoGarbage, Speed
from workstation.training import device, distributed, rundir
from workstation.training.checkpoint import Checkpoints
from workstation.training.loop import Hook
from workstation.training.parallel import shard
from workstation.training.progress import ProgressBar
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings
from workstation.training.tensorboard import TensorBoardLog

# Bytes of a weight, at least: as it is kept, and, where it is trained, its gradient and Adam's two means beside it.
FROZEN, TRAINED, FLOAT = 2.0, 16.0, 4.0
COPY = 2.0  # that autocast makes of each matrix, for a GPU's bfloat16 products
FOUR_BITS, EIGHT_BITS = 0.55, 1.1  # with their scales; the embedding and the head stay as they were


@dataclass(frozen=True)
class Lesson:
    """A model and the conversations it is to learn from, as it reads them."""

    base: Causal
    data: Instructions
    packed: bool  # several conversations in a row
    train: Rows
    held_out: Rows
    crossed: Rows  # the held-out questions with one another's answers

    @classmethod
    def prepare(cls, tuning: Tuning, settings: Settings) -> Lesson:
        """All that can be wrong with a model or with data shows here."""
        recipe_for(tuning, 1, 1)  # before a large model is read
        if settings.shard and tuning.method != "full":
            raise SettingError(
                f"--shard with {tuning.method}, whose frozen weights every process reads whole",
                remedy="Leave --shard out, or choose --method full.",
            )
        data = instructions.find(tuning.data)
        base = load(tuning, settings)
        answers.give_chat_template(base.tokenizer)
        length = min(tuning.length, base.context)
        sets = (data.train, data.held_out, crossed_answers(data.held_out))
        packed = keeps_apart(base.model, settings)
        if not packed and distributed.rank() == 0:
            print(
                f"workstation: {type(base.model).__name__} would see a conversation's neighbours in a row: "
                "one a row, so most of each row is padding; a shorter --length has less of it",
                file=sys.stderr,
            )
        rows = (answers.rows(exchanges, base.tokenizer, length, together=packed) for exchanges in sets)
        return cls(base, data, packed, *rows)


@dataclass(frozen=True)
class TuningRun:
    """A lesson in a directory of its own. The result lies in `directory`/model."""

    tuning: Tuning
    lesson: Lesson
    settings: Settings
    directory: Path

    @classmethod
    def new(cls, tuning: Tuning, on: torch.device, out: Path | None, shard: bool = False) -> TuningRun:
        """The directory is made last: what cannot be used leaves nothing behind."""
        if Path(tuning.model).is_dir():  # the run may be resumed from elsewhere
            tuning = replace(tuning, model=str(Path(tuning.model).resolve()))
        settings = _settings(tuning, on, shard)
        lesson = Lesson.prepare(tuning, settings)
        return cls(tuning, lesson, settings, rundir.begin(f"llm-{NAME}", out, {NAME: tuning.as_dict()}))

    @classmethod
    def stopped(cls, directory: Path, on: torch.device, shard: bool = False) -> TuningRun:
        """The run that `directory` holds. SettingError where it holds none, or one that is over."""
        try:
            tuning = Tuning(**json.loads((directory / rundir.SETTINGS).read_text())[NAME])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingError(
                f"--resume {directory} holds no fine-tuning", remedy="Name a directory that `finetune` made."
            ) from error
        if (directory / TUNED).exists():
            raise SettingError(
                f"--resume {directory} is finished", remedy="Its model can be served, exported, or tuned further."
            )
        settings = _settings(tuning, on, shard)
        return cls(tuning, Lesson.prepare(tuning, settings), settings, directory)

    def train(self) -> dict[str, Any]:
        """Train to the end; the report. Every rank measures, as a sharded model needs all of them; rank 0 writes."""
        lesson, settings, base = self.lesson, self.settings, self.lesson.base
        began = time.perf_counter()
        seed_everything(self.tuning.seed)
        model = AnswerLoss(adapt(base.model, self.tuning))
        report: dict[str, Any] = {
            NAME: self.tuning.as_dict(),
            "origin": lesson.data.origin,
            "licence": lesson.data.licence,
            "device": device.describe(settings.device),
            "processes": distributed.size(),
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "trained": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
            "conversations": {"train": lesson.train.conversations, "held_out": lesson.held_out.conversations},
            "too_long": lesson.train.too_long + lesson.held_out.too_long,
            "packed": lesson.packed,
            "rows": len(lesson.train),
            "filled": lesson.train.filled,
            "counted_loss": counted_loss(lesson.train, lesson.held_out, base.model.config.vocab_size),
            "loss_before": answer_loss(model, lesson.held_out, settings),
        }
        if settings.shard:
            shard(model, half=settings.amp)
        speed = Speed(None, _tokens_of_a_step(lesson.train, self.tuning), self.tuning.length, report["device"])
        hooks: list[Hook] = [speed, NoGarbage(), Checkpoints(self.directory, CHECKPOINT_SECONDS)]
        if distributed.rank() == 0:
            hooks += [TensorBoardLog(self.directory), ProgressBar()]
        losses = finetune(model, lesson.train, self.tuning, settings, hooks)
        report |= {
            "training_losses": losses,
            "loss_after": answer_loss(model, lesson.held_out, settings),
            "loss_with_anothers_question": answer_loss(model, lesson.crossed, settings),
            "tokens_per_second": speed.rates[-1] if speed.rates else None,
            "peak_memory": _peak_memory(settings.device),
            "seconds": round(time.perf_counter() - began, 1),
        }
        weights = whole_weights(model) if settings.shard else None
        distributed.from_first(lambda: self._keep(model.model, weights, report))
        return report

    def _keep(self, model: Any, weights: dict[str, Tensor] | None, report: dict[str, Any]) -> None:
        """The model last: where it is, nothing is missing."""
        rundir.write_json(self.directory / METRICS, report)
        if (self.directory / TUNED).exists():  # torchrun may start a finished run again
            return
        # Left to itself, PEFT asks the hub whether the embedding is still the base's. It is: no row was added.
        told = {"state_dict": weights} if self.tuning.method == "full" else {"save_embedding_layers": False}
        with rundir.new_directory(self.directory / TUNED) as partial:
            model.save_pretrained(partial, **told)
            self.lesson.base.tokenizer.save_pretrained(partial)


def load(tuning: Tuning, settings: Settings) -> Causal:
    """The model to tune, its weights in the precision that the method trains or freezes them in."""
    on = settings.device
    half = on.type == "cuda" and tuning.method != "full"
    found = causal.load(
        tuning.model,
        on,
        dtype="bfloat16" if half else "float32",
        quantisation=quantisation(tuning.method, on),
        check=_check(tuning.method, settings),
    )
    if hasattr(found.model, "merge_and_unload"):
        raise SettingError(
            f"{tuning.model} is an adapter, not a model",
            remedy=f"Merge it first: workstation llm export {tuning.model} --out DIR.",
        )
    return found


def must_fit(
    parameters: int,
    method: str,
    available: int,
    where: str,
    *,
    shares: int = 1,
    half: bool = True,
    nf4: bool = False,
) -> None:
    """MemoryTooSmallError where not even the weights, and what belongs to each, fit into `available` bytes.

    Of what is trained a process holds one of so many `shares`; before that, it has read all of the weights.
    `half`: products are computed in bfloat16, and frozen weights kept in it. `nf4`: in four bits by qlora, not eight.
    """
    whole = TRAINED + (COPY if half else 0)
    each = {
        "full": whole if shares == 1 else max(FLOAT, TRAINED / shares),  # in parts a copy is a layer's, and short-lived
        "lora": FROZEN if half else FLOAT,
        "qlora": FOUR_BITS if nf4 else EIGHT_BITS,
    }
    needed, room = int(parameters * each[method]), usable(available)
    if needed <= room:
        return
    fitting = [other for other, bytes_of_one in each.items() if parameters * bytes_of_one <= room]
    raise MemoryTooSmallError(
        f"{method} of {parameters:,} weights needs {size(needed)} before the first activation, and {where} has "
        f"{size(room)} to give",
        remedy=f"--method {fitting[0]} would fit." if fitting else "No method fits: choose a smaller model.",
    )


def crossed_answers(exchanges: tuple[Exchange, ...]) -> list[Exchange]:
    """Each question with the next one's answer: a model that reads the question finds these less likely."""
    following = exchanges[1:] + exchanges[:1]
    return [
        Exchange((*asked.messages[:-1], other.messages[-1])) for asked, other in zip(exchanges, following, strict=True)
    ]


def whole_weights(model: AnswerLoss) -> dict[str, Tensor]:
    """A sharded model's weights, put together on rank 0's CPU; none on the others. Every rank must ask."""
    found = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return {name.removeprefix("model."): weight for name, weight in found.items()}


def _tokens_of_a_step(rows: Rows, tuning: Tuning) -> int:
    """Places that hold a conversation; padding is not counted. A mean: the last step of a pass may have fewer rows."""
    return int(rows.filled * rows.tokens.numel()) // -(-len(rows) // tuning.batch)


def _peak_memory(on: torch.device) -> int:
    """Bytes: of a GPU what tensors took, else what the whole process did."""
    if on.type == "cuda":
        return int(torch.cuda.max_memory_allocated(on))
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024


def _check(method: str, settings: Settings) -> Check:
    on, shares = settings.device, distributed.size() if settings.shard else 1
    if on.type == "cuda":
        whole, where = device.memory(on), device.describe(on)
        return lambda parameters: must_fit(parameters, method, whole, where, shares=shares, nf4=four_bits(on))
    memory, place = cgroup.memory_limit() or cgroup.memory_total(), distributed.Place.from_environment(os.environ)
    if memory is None:
        return None
    part, where = memory // (place.local_size if place else 1), "each process here" if place else "this machine"
    return lambda parameters: must_fit(parameters, method, part, where, shares=shares, half=False)


def _settings(tuning: Tuning, on: torch.device, shard: bool) -> Settings:
    return Settings(on, tuning.seed, amp=on.type == "cuda", shard=shard)
