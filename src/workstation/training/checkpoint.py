"""Checkpoints that are whole or not there, and a fit that goes on from the newest whole one, to the bit.

They are PyTorch's own distributed checkpoints: saved by many processes, in shards, and loaded by any other number.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import sys
import time
import warnings
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from workstation.errors import WorkstationError
from workstation.training import distributed
from workstation.training.loop import Fit, Hook
from workstation.training.preemption import Stopped, on_sigterm
from workstation.training.sealed import Writer, is_whole

warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process alone is what we mean

KEEP = 2  # the newest, and the one to fall back on
MOST_HELD = 0.05  # of the training's time, by saving: an 8b model and its moments are 48 GB
DIGITS = 6 * "[0-9]"
NODE, NODES = ("GROUP_RANK", "0"), ("GROUP_WORLD_SIZE", "1")  # torchrun's variables: which this is, how many there are


class CheckpointError(WorkstationError):
    """No checkpoint can be trusted, or one cannot be written. Earlier ones are left as they are."""

    exit_code = 65


class Checkpoints(Hook):
    """Saves a fit as the directory NAME-EPOCH-STEP, and restores it when it starts again.

    A checkpoint holds the weights, the optimiser and its schedule, the losses, how far the epoch has come and the
    random state. It is saved after the last epoch, and after any step or epoch that ends `every_seconds` or more after
    the last save: while the training goes on, from a copy. Where making the copy, or waiting for the save before, holds
    the training up, the next save comes later, so that it costs a twentieth of the time at most; 0 saves at every step.
    SIGTERM saves at the end of the step and raises Stopped.

    In a job of many processes every rank needs this hook, with one directory that they all see.
    """

    def __init__(self, directory: Path, every_seconds: float = 10.0) -> None:
        self._directory = directory
        self._every_seconds = every_seconds

    def start(self, fit: Fit) -> None:
        self._saved_at, self._interval = time.monotonic(), self._every_seconds
        self._under_way: Future[Any] | None = None
        # Saving talks to the other ranks in a thread of its own: on the training's group the two would mix.
        self._group = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self._sigterm = False
        self._restore_sigterm = on_sigterm(self._heed_sigterm)
        newest = distributed.from_first(lambda: self._go_on(fit.name))
        if newest is not None:
            _load(fit, newest, self._group)

    def step(self, fit: Fit) -> None:
        due, leaving = self._agree()
        if due or any(leaving):
            self._save(fit)
        self._leave(fit, leaving)

    def epoch(self, fit: Fit) -> None:
        due, leaving = self._agree()
        if len(fit.losses) == fit.epochs or due or any(leaving):
            self._save(fit)
        if len(fit.losses) == fit.epochs:
            self._finish_save()
        else:
            self._leave(fit, leaving)

    def end(self, fit: Fit) -> None:  # noqa: ARG002 - the hook's signature
        self._restore_sigterm()
        failing = sys.exception() is not None
        with contextlib.suppress(CheckpointError) if failing else contextlib.nullcontext():
            self._finish_save()  # what went wrong first is what should be said
        if self._group is not None:
            dist.destroy_process_group(self._group)
        if self._sigterm and not failing:  # it came too late for the last step
            signal.raise_signal(signal.SIGTERM)

    def _heed_sigterm(self) -> None:
        self._sigterm = True

    def _agree(self) -> tuple[bool, list[bool]]:
        """Whether to save now, and which nodes leave: clocks and signals differ, and all ranks must do the same."""
        node, nodes = int(os.environ.get(*NODE)), int(os.environ.get(*NODES))
        due = distributed.rank() == 0 and time.monotonic() - self._saved_at >= self._interval
        leaving = [self._sigterm and node == other for other in range(nodes)]
        due, *leaving = distributed.any_of([due, *leaving])
        return due, leaving

    def _leave(self, fit: Fit, leaving: list[bool]) -> None:
        """End this process if its node was asked to. The others lose a peer now, and start again without it."""
        if not leaving[int(os.environ.get(*NODE))]:
            return
        self._finish_save()
        self._sigterm = False
        raise Stopped(
            f"stopped by SIGTERM at step {fit.step} of {fit.name}, which is saved",
            remedy=f"Go on with --resume {self._directory}",
        )

    def _save(self, fit: Fit) -> None:
        began = time.monotonic()
        self._finish_save()
        path = self._directory / f"{fit.name}-{len(fit.losses):06d}-{len(fit.unread):06d}"
        self._under_way = dcp.async_save(_state(fit), storage_writer=Writer(path), process_group=self._group)
        self._saved_at = time.monotonic()
        if self._every_seconds:
            self._interval = max(self._every_seconds, (self._saved_at - began) / MOST_HELD)
        self._name = fit.name

    def _finish_save(self) -> None:
        """Wait for the save under way; then those before the one before it can go."""
        if self._under_way is None:
            return
        saved, self._under_way = self._under_way, None
        try:
            saved.result()
        except CheckpointException as error:
            failed_rank, (reason, _) = next(iter(error.failures.items()))
            raise CheckpointError(
                f"rank {failed_rank} could not save to {self._directory}: {reason}",
                remedy="Earlier checkpoints are whole: see to the cause, then go on with --resume.",
            ) from error
        if distributed.rank() == 0:
            for old in self._paths(self._name)[:-KEEP]:
                shutil.rmtree(old)

    def restore(self, model: nn.Module, name: str) -> bool:
        """Put the newest whole checkpoint's weights, and nothing else, into `model`; False where there is none."""
        newest = self._newest_whole(name)
        if newest is None:
            return False
        state = {"model": model.state_dict()}
        dcp.load(state, checkpoint_id=newest)
        model.load_state_dict(state["model"])
        return True

    def _go_on(self, name: str) -> Path | None:
        for half_written in self._directory.glob(f".{name}-{DIGITS}-{DIGITS}.partial"):
            shutil.rmtree(half_written)
        return self._newest_whole(name)

    def _paths(self, name: str) -> list[Path]:
        return sorted(self._directory.glob(f"{name}-{DIGITS}-{DIGITS}"))

    def _newest_whole(self, name: str) -> Path | None:
        paths = self._paths(name)
        for path in reversed(paths):
            if is_whole(path):
                return path
            print(f"workstation: {path} does not match its checksum; trying the one before it", file=sys.stderr)
        if paths:
            raise CheckpointError(
                f"no checkpoint of {name} in {self._directory} is whole", remedy="Start again without --resume."
            )
        return None


def _state(fit: Fit) -> dict[str, Any]:
    # Not the optimiser's own state_dict: it numbers its parameters, and cannot say whose a moment is.
    model, optimizer = get_state_dict(fit.model, fit.optimizer)
    rest = io.BytesIO()
    torch.save(
        {
            "scheduler": fit.scheduler.state_dict() if fit.scheduler is not None else None,
            "losses": fit.losses,
            "curve": fit.curve,
            # Raises DivergedError: a model that has diverged never takes the place of a good one.
            "unread": fit.read() if fit.unread else torch.empty(0),
            "weights": fit.weights,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        },
        rest,
    )
    return {"model": model, "optimizer": optimizer, "rest": rest.getvalue()}


def _load(fit: Fit, path: Path, group: dist.ProcessGroup | None) -> None:
    model, optimizer = get_state_dict(fit.model, fit.optimizer)
    state: dict[str, Any] = {"model": model, "optimizer": optimizer, "rest": b""}
    dcp.load(state, checkpoint_id=path, process_group=group)
    set_state_dict(fit.model, fit.optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    rest = torch.load(io.BytesIO(state["rest"]), map_location="cpu", weights_only=True)
    if fit.scheduler is not None:
        fit.scheduler.load_state_dict(rest["scheduler"])
    fit.losses[:], fit.curve[:], fit.weights[:] = rest["losses"], rest["curve"], rest["weights"]
    # A step's loss is the sum of what the ranks have of it: the first has all, the others nothing.
    unread = rest["unread"] if distributed.rank() == 0 else torch.zeros_like(rest["unread"])
    fit.unread[:] = unread.to(next(fit.model.parameters()).device).unbind()
    torch.set_rng_state(rest["rng"])
    if rest["cuda_rng"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(rest["cuda_rng"])
