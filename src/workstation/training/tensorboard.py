"""Loss curves for TensorBoard."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from workstation.training.loop import Fit, Hook


class TensorBoardLog(Hook):
    """Each epoch's mean loss, under the fit's name, in the run's own directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def start(self, fit: Fit) -> None:
        # purge_step: a resumed run draws over the points that the stopped one logged after its last checkpoint.
        self._writer = SummaryWriter(str(self._directory), purge_step=len(fit.losses) + 1)

    def epoch(self, fit: Fit) -> None:
        self._writer.add_scalar(f"{fit.name}/loss", fit.losses[-1], len(fit.losses))

    def end(self, fit: Fit) -> None:  # noqa: ARG002 - the hook's signature
        self._writer.close()
