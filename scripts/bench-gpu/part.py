"""What every part of the benchmark is made of: rows of one table, each measured in a process of its own."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from workstation.llm.settings import Preset
from workstation.llm.watch import rest
from workstation.training.loop import Fit, Hook

GIB = 1024**3
MICRO_BATCHES = 4  # a step: enough that the optimiser's share is small, as it is in a real run
Row = dict[str, str]


@dataclass(frozen=True)
class Part:
    """`measure(row, steps, dry)` is called in the row's own process, of which there are `processes`."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    measure: Callable[[str, int, bool], Row]
    processes: Callable[[str, bool], int | None] = lambda _row, _dry: None  # None: no torchrun
    missing: Callable[[str, bool], str | None] = lambda _row, _dry: None  # why this machine cannot measure the row


@dataclass
class Times(Hook):
    """Seconds of each step but an epoch's first: that one may compile. The clock starts when it has been computed."""

    first: float = 0.0  # the very first step, compiling included
    per_step: dict[str, list[float]] = field(default_factory=dict)  # by the name of the fit, a mean for each epoch

    def start(self, fit: Fit) -> None:
        self.per_step.setdefault(fit.name, [])
        self._began, self._counted = time.perf_counter(), 0

    def step(self, fit: Fit) -> None:
        if len(fit.unread) != 1:
            return
        rest(fit)
        now = time.perf_counter()
        self.first = self.first or now - self._began
        self._began, self._counted = now, fit.step

    def epoch(self, fit: Fit) -> None:
        """The losses have been read, so the device has come to rest."""
        if fit.step > self._counted:
            self.per_step[fit.name].append((time.perf_counter() - self._began) / (fit.step - self._counted))

    @property
    def steady(self) -> float:
        """The steady step of each fit, median over its epochs after the first, added up."""
        return sum(statistics.median(epochs[1:] or epochs) for epochs in self.per_step.values() if epochs)


def short(preset: Preset, steps: int) -> Preset:
    """Two stretches of `steps`, with no long warm-up and a batch that does not take minutes."""
    rows = MICRO_BATCHES * preset.recipe.micro_batch
    recipe = dataclasses.replace(
        preset.recipe, batch=rows, accumulate=MICRO_BATCHES, steps=2 * steps, stretch=steps, warmup=steps
    )
    return dataclasses.replace(preset, recipe=recipe)


def shrunk(preset: Preset) -> Preset:
    """Small enough for a CPU, with every lever of the preset as it is."""
    shape = preset.shape
    small = dataclasses.replace(shape, vocabulary=1000, layers=2, width=16 * shape.heads, hidden=256, context=64)
    recipe = dataclasses.replace(preset.recipe, batch=2 * preset.recipe.accumulate)
    return dataclasses.replace(preset, shape=small, recipe=recipe)


def peak_gib() -> str:
    return f"{torch.cuda.max_memory_allocated() / GIB:.1f}" if torch.cuda.is_available() else ""
