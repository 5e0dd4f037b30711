"""Progress for a person at a terminal; silence for a log file or a pipe."""

from __future__ import annotations

import sys

from tqdm import tqdm

from workstation.training.loop import Fit, Hook


class ProgressBar(Hook):
    """One bar a fit on standard error, so that standard output stays fit for a pipe."""

    def start(self, fit: Fit) -> None:
        # disable=None is tqdm's word for "only where a terminal is".
        self._bar = tqdm(
            total=fit.epochs, initial=len(fit.losses), desc=fit.name, unit="epoch", file=sys.stderr, disable=None
        )

    def epoch(self, fit: Fit) -> None:
        self._bar.set_postfix(loss=f"{fit.losses[-1]:.4g}", refresh=False)
        self._bar.update()

    def end(self, fit: Fit) -> None:  # noqa: ARG002 - the hook's signature
        self._bar.close()
