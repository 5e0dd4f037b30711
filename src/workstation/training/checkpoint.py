"""Checkpoints that are whole or not there, and a fit that goes on from the newest whole one, to the bit."""

from __future__ import annotations

import hashlib
import io
import sys
import time
from pathlib import Path
from typing import Any

import torch

from workstation.errors import WorkstationError
from workstation.training.atomic import write_whole
from workstation.training.loop import Fit, Hook

KEEP = 2  # the newest, and the one to fall back on
DIGITS = 6 * "[0-9]"


class CheckpointError(WorkstationError):
    """No checkpoint can be trusted, or one cannot be written. Earlier ones are left as they are."""

    exit_code = 65


class Checkpoints(Hook):
    """Saves a fit as NAME-EPOCH-STEP.pt beside its .sha256, and restores it when it starts again.

    A checkpoint holds the weights, the optimiser and its schedule, the losses, how far the epoch has come and the
    random state. It is saved after the last epoch, and after any step or epoch that ends `every_seconds` or more after
    the last save.
    """

    def __init__(self, directory: Path, every_seconds: float = 10.0) -> None:
        self._directory = directory
        self._every_seconds = every_seconds

    def start(self, fit: Fit) -> None:
        self._saved_at = time.monotonic()
        state = self._newest_whole(fit.name)
        if state is None:
            return
        fit.model.load_state_dict(state["model"])
        fit.optimizer.load_state_dict(state["optimizer"])
        if fit.scheduler is not None:
            fit.scheduler.load_state_dict(state["scheduler"])
        fit.losses[:], fit.curve[:] = state["losses"], state["curve"]
        device = next(fit.model.parameters()).device
        fit.unread[:], fit.weights[:] = [loss.to(device) for loss in state["unread"]], state["weights"]
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_rng"])

    def step(self, fit: Fit) -> None:
        if time.monotonic() - self._saved_at >= self._every_seconds:
            fit.read()  # a model that has diverged never takes the place of a good one
            self._save(fit)

    def epoch(self, fit: Fit) -> None:
        if len(fit.losses) == fit.epochs or time.monotonic() - self._saved_at >= self._every_seconds:
            self._save(fit)

    def _save(self, fit: Fit) -> None:
        path = self._directory / f"{fit.name}-{len(fit.losses):06d}-{len(fit.unread):06d}.pt"
        save(path, {
            "model": fit.model.state_dict(),
            "optimizer": fit.optimizer.state_dict(),
            "scheduler": fit.scheduler.state_dict() if fit.scheduler is not None else None,
            "losses": fit.losses,
            "curve": fit.curve,
            "unread": fit.unread,
            "weights": fit.weights,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        })  # fmt: skip
        self._saved_at = time.monotonic()
        for old in self._paths(fit.name)[:-KEEP]:
            old.unlink()
            _checksum_of(old).unlink(missing_ok=True)

    def _paths(self, name: str) -> list[Path]:
        return sorted(self._directory.glob(f"{name}-{DIGITS}-{DIGITS}.pt"))

    def _newest_whole(self, name: str) -> dict[str, Any] | None:
        paths = self._paths(name)
        for path in reversed(paths):
            state = load(path)
            if state is not None:
                return state
            print(f"workstation: {path} does not match its checksum; trying the one before it", file=sys.stderr)
        if paths:
            raise CheckpointError(
                f"no checkpoint of {name} in {self._directory} is whole", remedy="Start again without --resume."
            )
        return None


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state`, then its checksum. Only the two together count, so a half-written one is never read."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    try:
        write_whole(path, content)
        write_whole(_checksum_of(path), hashlib.sha256(content).hexdigest().encode())
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written: {error.strerror}",
            remedy="Earlier checkpoints are whole; make room, then go on with --resume.",
        ) from error


def load(path: Path) -> dict[str, Any] | None:
    """The state that `save` wrote, on the CPU; None when it is not what was written."""
    content = path.read_bytes()
    checksum = _checksum_of(path)
    if not checksum.is_file() or checksum.read_text() != hashlib.sha256(content).hexdigest():
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def _checksum_of(path: Path) -> Path:
    return path.with_suffix(".sha256")
