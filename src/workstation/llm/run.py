"""One pre-training: what it was told, where it keeps itself, how it goes on after a stop, what came of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from workstation.doctor import cgroup
from workstation.errors import SettingError
from workstation.llm import evaluate, memory, mfu
from workstation.llm.data import TRAIN, VALIDATION, Data, Rows, Stretches
from workstation.llm.model import Decoder
from workstation.llm.pretrain import NAME, compiled, decoder, pretrain
from workstation.llm.settings import Preset
from workstation.llm.tokens import FILE, Tokenizer
from workstation.llm.watch import NoGarbage, Speed, Validation
from workstation.training import device, distributed, rundir
from workstation.training.checkpoint import Checkpoints
from workstation.training.loop import Hook
from workstation.training.parallel import shard
from workstation.training.progress import ProgressBar
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings
from workstation.training.tensorboard import TensorBoardLog

CURVE, METRICS = "validation.json", "metrics.json"
GLANCE = 128  # validation rows between stretches; the whole split is read at the end
ROUNDS = 40  # after so many, repeated text is worth nothing (Muennighoff et al. 2023)
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Run:
    """A preset on data, in a directory of its own."""

    preset: Preset
    data: Data
    settings: Settings
    directory: Path

    @classmethod
    def new(cls, preset: Preset, data: Data, settings: Settings, out: Path | None) -> Run:
        """A directory of its own. The vocabulary is the data's."""
        preset = dataclasses.replace(preset, shape=dataclasses.replace(preset.shape, vocabulary=data.about.vocabulary))
        directory = rundir.begin(f"llm-{preset.name}", out, _choices(preset, data, settings))
        distributed.from_first(lambda: shutil.copy(data.directory / FILE, directory / FILE))
        return cls(preset, data, settings, directory)

    @classmethod
    def stopped(cls, directory: Path, on: torch.device, shard: bool = False, data: Path | None = None) -> Run:
        """The run that `directory` holds. Its own settings count; where it runs and its `data` lie may change."""
        kept = about(directory)
        preset = Preset.from_dict(kept["preset"])
        told = settings(preset, on, kept["seed"], kept["amp"], shard)
        return cls(preset, Data(data or Path(kept["data"])), told, directory)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its own copy: a model outlives the data it was trained on."""
        return Tokenizer.load(self.directory)

    def train(self) -> dict[str, Any]:
        """Train to the end and keep metrics.json; the report."""
        must_fit(self.preset, self.settings.device)
        self.data.must_fit(self.tokenizer)
        recipe, shape = self.preset.recipe, self.preset.shape
        seed_everything(self.settings.seed)
        began = time.perf_counter()
        validation = Rows(self.data, VALIDATION, shape.context)
        lengths = self.tokenizer.byte_lengths()
        curve = Validation(
            validation, lengths, self.settings, self.directory / CURVE, GLANCE, recipe.micro_batch, recipe.masked
        )
        speed = Speed(shape, recipe.batch * shape.context, shape.context, device.describe(self.settings.device))
        rows = Rows(self.data, TRAIN, shape.context)
        if distributed.rank() == 0 and (warning := too_little(len(rows), self.preset)):
            print(f"workstation: {warning}", file=sys.stderr)
        batches = Stretches(rows, recipe.batch, recipe.stretch, self.settings.seed, recipe.masked, last=recipe.steps)
        model = decoder(self.preset, self.settings.device)
        if self.settings.device.type == "cuda":  # a CPU never earns the minutes back
            room = memory.keeps_products(self.preset, device.memory(self.settings.device))
            compiled(model, in_parts=self.settings.shard, products=room)
        if self.settings.shard:
            shard(model, half=self.settings.amp)
        # The curve before the checkpoint: the epochs of a checkpoint are then always in it.
        hooks: list[Hook] = [speed, NoGarbage(), curve, Checkpoints(self.directory, CHECKPOINT_SECONDS)]
        if distributed.rank() == 0:
            hooks += [TensorBoardLog(self.directory), ProgressBar()]
        losses = pretrain(model, batches, recipe, self.settings, hooks)
        whole = evaluate.score(model, validation, lengths, self.settings, size=recipe.micro_batch, masked=recipe.masked)
        report = _choices(self.preset, self.data, self.settings) | {
            "device": device.describe(self.settings.device),
            "processes": distributed.size(),
            "parameters": shape.parameters,
            "training_loss": losses[-1],
            "validation_loss": whole.loss,
            "perplexity": whole.perplexity,
            "bits_per_byte": whole.bits_per_byte,
            "tokens_seen": recipe.steps * recipe.batch * shape.context,
            "tokens_per_second": speed.rates[-1] if speed.rates else None,
            "mfu": speed.utilisation,
            "mfu_formula": mfu.FORMULA,
            "seconds": round(time.perf_counter() - began, 1),
        }
        if distributed.rank() == 0 and not (self.directory / METRICS).exists():  # torchrun may start it again
            rundir.write_json(self.directory / METRICS, report)
        return report

    def untrained(self) -> Decoder:
        """The model as it was before the first step."""
        seed_everything(self.settings.seed)
        return decoder(self.preset, self.settings.device)

    def trained(self) -> Decoder:
        """The model of the newest whole checkpoint. SettingError where there is none yet."""
        model = self.untrained()
        if not Checkpoints(self.directory).restore(model, NAME):
            raise SettingError(
                f"{self.directory} has no checkpoint yet",
                remedy=f"Train it: workstation llm pretrain --resume {self.directory}",
            )
        return model


def settings(preset: Preset, on: torch.device, seed: int, amp: bool, shard: bool = False) -> Settings:
    """Mixed precision is a GPU's; on a CPU only who asks for it gets it."""
    mixed = preset.recipe.precision == "mixed"
    return Settings(on, seed, amp=mixed and (amp or on.type == "cuda"), shard=shard)


def _choices(preset: Preset, data: Data, settings: Settings) -> dict[str, Any]:
    """What makes a run this run and no other. Where it runs does not."""
    return {
        "preset": preset.as_dict(),
        "data": str(data.directory.resolve()),
        "seed": settings.seed,
        "amp": settings.amp,
    }


def about(directory: Path) -> dict[str, Any]:
    """What a run was told. SettingError where `directory` holds none."""
    try:
        kept: dict[str, Any] = json.loads((directory / rundir.SETTINGS).read_text())
        Preset.from_dict(kept["preset"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(
            f"{directory} holds no language model", remedy="Name a directory that `workstation llm pretrain` made."
        ) from error
    return kept


def holds_run(directory: Path) -> bool:
    """Whether `directory` is one of `pretrain`'s."""
    try:
        return bool(about(directory))
    except SettingError:
        return False


def too_little(rows: int, preset: Preset) -> str | None:
    """A warning where the data are read so often that a model learns them by heart and nothing more."""
    rounds = preset.recipe.steps * preset.recipe.batch / rows
    if rounds <= ROUNDS:
        return None
    return f"preset {preset.name} reads these data {rounds:,.0f} times; after {ROUNDS} it learns nothing new from them"


def must_fit(preset: Preset, on: torch.device) -> None:
    """MemoryTooSmallError where the device has not the memory. Of several that share the work, none is asked."""
    if distributed.size() > 1:
        return
    if on.type == "cuda":
        memory.must_fit(preset, device.memory(on), device.describe(on))
        return
    available = cgroup.memory_limit() or cgroup.memory_total()
    if available is not None:
        memory.must_fit(preset, available, "this machine")
