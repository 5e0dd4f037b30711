"""What watches a pre-training: the validation loss, the speed, and Python's garbage collector kept out of the way."""

from __future__ import annotations

import gc
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from workstation.llm import mfu
from workstation.llm.data import Rows
from workstation.llm.evaluate import score
from workstation.llm.settings import Shape
from workstation.training import distributed
from workstation.training.loop import Fit, Hook
from workstation.training.rundir import write_json
from workstation.training.settings import Settings


@dataclass
class Validation(Hook):
    """The loss on unseen documents after each stretch, kept in `path` so that a resumed run has all of them."""

    rows: Rows
    byte_lengths: list[int]
    settings: Settings
    path: Path
    most: int  # rows, each time
    size: int  # rows at once
    masked: bool = True  # see `score`
    losses: list[float] = field(default_factory=list)

    def start(self, fit: Fit) -> None:  # noqa: ARG002 - the hook's signature
        if self.path.exists():
            self.losses[:] = json.loads(self.path.read_text())["losses"]

    def epoch(self, fit: Fit) -> None:
        given = (fit.model, self.rows, self.byte_lengths, self.settings)
        found = score(*given, size=self.size, most=self.most, masked=self.masked)
        # A resumed run may come again to a stretch whose checkpoint the stopped one did not live to write.
        self.losses[len(fit.losses) - 1 :] = [found.loss]
        if distributed.rank() == 0:  # all have read, as a sharded model needs all of them
            write_json(self.path, {"losses": self.losses})


@dataclass
class Speed(Hook):
    """Tokens a second and MFU of each stretch. Its first step is left out: it may compile, and it waits for nothing."""

    shape: Shape | None  # None: of a model whose operations are not counted here
    tokens: int  # of a step, over all GPUs
    length: int  # of a row
    device: str  # its name, for its peak
    rates: list[float] = field(default_factory=list)
    _first: tuple[int, float] | None = None

    def step(self, fit: Fit) -> None:
        if self._first is None:
            rest(fit)
            self._first = (fit.step, time.perf_counter())

    def epoch(self, fit: Fit) -> None:
        first, self._first = self._first, None  # None: a resumed run had nothing left of this stretch
        if first is not None and fit.step > first[0]:  # the losses have been read, so the device has come to rest
            self.rates.append((fit.step - first[0]) * self.tokens / (time.perf_counter() - first[1]))

    @property
    def utilisation(self) -> float | None:
        """Of all GPUs together, in the newest stretch; None where their peak is not known."""
        operations = mfu.peak(self.device)
        if operations is None or not self.rates or self.shape is None:
            return None
        return mfu.mfu(self.rates[-1], self.shape, self.length, operations * distributed.size())


def rest(fit: Fit) -> None:
    """Wait until the device has computed what it was told. A clock read before that times the telling alone."""
    on = next(fit.model.parameters()).device
    if on.type == "cuda":
        torch.cuda.synchronize(on)


class NoGarbage(Hook):
    """Python looks for dead cycles at moments of its own choosing, and the GPU waits: look between stretches only."""

    def start(self, fit: Fit) -> None:  # noqa: ARG002 - the hook's signature
        gc.disable()

    def epoch(self, fit: Fit) -> None:  # noqa: ARG002
        gc.collect()

    def end(self, fit: Fit) -> None:  # noqa: ARG002
        gc.enable()
