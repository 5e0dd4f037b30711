"""One run of an example: where it keeps itself, how it goes on after a stop, what it reports."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workstation.errors import SettingError
from workstation.examples.catalog import Chapter
from workstation.training import device, distributed, rundir
from workstation.training.checkpoint import Checkpoints
from workstation.training.loop import Hook
from workstation.training.metrics import as_numbers
from workstation.training.progress import ProgressBar
from workstation.training.settings import Settings
from workstation.training.tensorboard import TensorBoardLog


@dataclass(frozen=True)
class Session:
    """An example with its settings and its directory."""

    chapter: Chapter
    settings: Settings
    directory: Path
    data: str | None = None  # public data in place of the chapter's own

    @classmethod
    def new(cls, chapter: Chapter, settings: Settings, out: Path | None, data: str | None = None) -> Session:
        """A directory of its own, and in it what was asked for."""
        directory = rundir.begin(chapter.name, out, _choices(chapter, settings, data))
        return cls(chapter, settings, directory, data)

    @classmethod
    def stopped(cls, chapter: Chapter, directory: Path, on: torch.device, shard: bool) -> Session:
        """The session that `directory` holds. Its own settings count; only where it runs may be another."""
        try:
            kept = json.loads((directory / rundir.SETTINGS).read_text())
            settings = Settings(on, kept["seed"], kept["epochs"], kept["compile"], kept["amp"], shard)
        except (OSError, ValueError, KeyError) as error:
            raise SettingError(
                f"--resume {directory} holds no run that can go on", remedy="Name a directory that `run` made."
            ) from error
        if kept["example"] != chapter.name:
            raise SettingError(
                f"--resume {directory} holds a run of {kept['example']}, not of {chapter.name}",
                remedy=f"workstation examples run {kept['example']} --resume {directory}",
            )
        # Runs that are older than this choice do not name it.
        data = kept.get("public_data")
        chapter.check(data)
        return cls(chapter, settings, directory, data)

    def run(self) -> dict[str, Any]:
        """Run it; rank 0 keeps metrics.json. The report says what was promised and whether it holds."""
        example = self.chapter.load(self.data)
        began = time.perf_counter()
        hooks: list[Hook] = [Checkpoints(self.directory)]
        if distributed.rank() == 0:
            hooks += [TensorBoardLog(self.directory), ProgressBar()]
        metrics = example.run(self.settings, hooks)
        report = _choices(self.chapter, self.settings, self.data) | {
            "device": device.describe(self.settings.device),
            "processes": distributed.size(),
            "data": example.DATA,
            "promise": example.PROMISE,
            "holds": metrics.holds(),
            "metrics": as_numbers(metrics),
            "seconds": round(time.perf_counter() - began, 3),
        }
        if distributed.rank() == 0:
            rundir.write_json(self.directory / "metrics.json", report)
        return report


def _choices(chapter: Chapter, settings: Settings, data: str | None) -> dict[str, Any]:
    """What makes a run this run and no other. Where it runs does not."""
    return {
        "example": chapter.name,
        "seed": settings.seed,
        "epochs": settings.epochs,
        "compile": settings.compile,
        "amp": settings.amp,
        "public_data": data,
    }
