"""One run of an example: where it keeps itself, how it goes on after a stop, what it reports."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workstation.errors import SettingError
from workstation.examples.catalog import Chapter
from workstation.training import device, rundir
from workstation.training.checkpoint import Checkpoints
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

    @classmethod
    def new(cls, chapter: Chapter, settings: Settings, out: Path | None) -> Session:
        """A directory of its own, and in it what was asked for."""
        session = cls(chapter, settings, rundir.create(chapter.name, out))
        rundir.write_json(session.directory / "settings.json", session._choices())
        return session

    @classmethod
    def stopped(cls, chapter: Chapter, directory: Path, on: str) -> Session:
        """The session that `directory` holds. Its own settings count; only the device may be another."""
        try:
            kept = json.loads((directory / "settings.json").read_text())
            settings = Settings(device.choose(on), kept["seed"], kept["epochs"], kept["compile"], kept["amp"])
        except (OSError, ValueError, KeyError) as error:
            raise SettingError(
                f"--resume {directory} holds no run that can go on", remedy="Name a directory that `run` made."
            ) from error
        if kept["example"] != chapter.name:
            raise SettingError(
                f"--resume {directory} holds a run of {kept['example']}, not of {chapter.name}",
                remedy=f"workstation examples run {kept['example']} --resume {directory}",
            )
        return cls(chapter, settings, directory)

    def run(self) -> dict[str, Any]:
        """Run it and keep metrics.json. The report says what was promised and whether it holds."""
        example = self.chapter.load()
        began = time.perf_counter()
        hooks = [Checkpoints(self.directory), TensorBoardLog(self.directory), ProgressBar()]
        metrics = example.run(self.settings, hooks)
        report = self._choices() | {
            "data": example.DATA,
            "promise": example.PROMISE,
            "holds": metrics.holds(),
            "metrics": as_numbers(metrics),
            "seconds": round(time.perf_counter() - began, 3),
        }
        rundir.write_json(self.directory / "metrics.json", report)
        return report

    def _choices(self) -> dict[str, Any]:
        return {
            "example": self.chapter.name,
            "device": device.describe(self.settings.device),
            "seed": self.settings.seed,
            "epochs": self.settings.epochs,
            "compile": self.settings.compile,
            "amp": self.settings.amp,
        }
