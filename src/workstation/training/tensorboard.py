"""Loss curves for TensorBoard."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from workstation.training.loop import Fit, Hook


class TensorBoardLog(Hook):
    """Each epoch's mean loss, under the fit's name, in the run's own directory.

    A run that goes on from a checkpoint logs some points again: the same ones. A curve that cannot be kept, on a full
    disk, stops no training: it is said once, and there are no more of them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writer: SummaryWriter | None = None
        self._lost = False

    def start(self, fit: Fit) -> None:  # noqa: ARG002 - the hook's signature
        with self._losing():
            self._writer = SummaryWriter(str(self._directory))

    def epoch(self, fit: Fit) -> None:
        if self._writer and not self._lost:
            with self._losing():
                self._writer.add_scalar(f"{fit.name}/loss", fit.losses[-1], len(fit.losses))

    def end(self, fit: Fit) -> None:  # noqa: ARG002
        if self._writer:
            with self._losing():
                self._writer.close()

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._lost:
                lost = f"no more curves for TensorBoard in {self._directory}: {error.strerror}"
                print(f"workstation: {lost}", file=sys.stderr)
            self._lost = True
