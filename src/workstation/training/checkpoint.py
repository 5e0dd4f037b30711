"""Checkpoints that are whole or not there, and a fit that goes on from the newest whole one, to the bit.

They are PyTorch's own distributed checkpoints: saved by many processes, in shards, and loaded by any other number.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
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
from workstation.training.sealed import Writer, is_whole, saved, set_aside, swept
from workstation.training.seed import chance, set_chance

warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process alone is what we mean

KEEP = 2  # the newest, and the one to fall back on
MOST_HELD = 0.05  # of the training's time, by saving: an 8b model and its moments are 48 GB
SLOWEST = datetime.timedelta(minutes=30)  # between the first rank's file and the last one's
NODE, NODES = ("GROUP_RANK", "0"), ("GROUP_WORLD_SIZE", "1")  # torchrun's variables: which this is, how many there are


class CheckpointError(WorkstationError):
    """No checkpoint can be trusted, or one cannot be written. Earlier ones are left as they are."""

    exit_code = 65


class Checkpoints(Hook):
    """Saves a fit as the directory NAME-EPOCH-STEP, and restores it when it starts again.

    A checkpoint holds the weights, the optimiser and its schedule, the losses, how far the epoch has come, the random
    state, and what another fit must not differ in: epochs, optimiser, schedule, size. It is saved after the last epoch,
    and after any step or epoch that ends `every_seconds` or more after the last save: while the training goes on, from
    a copy. Where making the copy, or waiting for the save before, holds the training up, the next save comes later, so
    that it costs a twentieth of the time at most; 0 saves at every step.
    SIGTERM saves at the end of the step and raises Stopped.

    In a job of many processes every rank needs this hook, with one directory that they all see.
    """

    def __init__(self, directory: Path, every_seconds: float = 10.0) -> None:
        self._directory = directory
        self._every_seconds = every_seconds
        self._finished: set[str] = set()

    def start(self, fit: Fit) -> None:
        self._saved_at, self._interval = time.monotonic(), self._every_seconds
        self._under_way: Future[Any] | None = None
        # Saving talks to the other ranks in a thread of its own: on the training's group the two would mix.
        self._group = dist.new_group(backend="gloo", timeout=SLOWEST) if dist.is_initialized() else None
        self._sigterm = False
        self._restore_sigterm = on_sigterm(self._heed_sigterm)
        try:
            if fit.name in self._finished:
                raise CheckpointError(
                    f"a fit called {fit.name} has ended here already, and this one would only be given its weights",
                    remedy="Give each a name of its own: fit(…, name=…).",
                )
            newest = self._go_on(fit.name)
            if newest is not None:
                _load(fit, newest, self._group)
        except BaseException:
            self._let_go()  # nobody ends what has not started
            raise

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
            self._finished.add(fit.name)
        else:
            self._leave(fit, leaving)

    def end(self, fit: Fit) -> None:  # noqa: ARG002 - the hook's signature
        failing = sys.exception() is not None
        if failing:
            # What went wrong first is what should be said. And the others may be gone: none waits for them for long.
            with contextlib.suppress(CheckpointError, RuntimeError, TimeoutError):
                self._finish_save(lambda save: save.result(distributed.silence()))
        else:
            self._finish_save()
        self._let_go()
        if self._sigterm and not failing:  # it came too late for the last step
            signal.raise_signal(signal.SIGTERM)

    def _let_go(self) -> None:
        self._restore_sigterm()
        if self._group is not None:
            dist.destroy_process_group(self._group)

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
        if any(leaving):
            self._finish_save()  # on all: each still answers for its own part of it
        if not leaving[int(os.environ.get(*NODE))]:
            return
        self._sigterm = False
        raise Stopped(
            f"stopped by SIGTERM at step {fit.step} of {fit.name}, which is saved",
            remedy=f"Go on with --resume {self._directory}",
        )

    def _save(self, fit: Fit) -> None:
        began = time.monotonic()
        self._finish_save()
        name = fit.name
        path = self._directory / f"{name}-{len(fit.losses):06d}-{len(fit.unread):06d}"
        writer = Writer(path, shown=lambda: self._prune(name))
        staged = writer.stage(_state(fit))
        # As dcp.async_save does it, but for a thread that Python would wait for at its end.
        self._under_way = distributed.in_background(
            lambda: dcp.save(staged, storage_writer=writer, process_group=self._group)
        )
        self._saved_at = time.monotonic()
        if self._every_seconds:
            self._interval = max(self._every_seconds, (self._saved_at - began) / MOST_HELD)

    def _finish_save(self, wait: Callable[[Future[Any]], object] = distributed.awaited) -> None:
        """Wait for the save under way."""
        if self._under_way is None:
            return
        under_way, self._under_way = self._under_way, None
        try:
            wait(under_way)
        except CheckpointException as error:
            failed_rank, (reason, _) = next(iter(error.failures.items()))
            raise CheckpointError(
                f"rank {failed_rank} could not save to {self._directory}: {reason}",
                remedy="Earlier checkpoints are whole: see to the cause, then go on with --resume.",
            ) from error

    def _prune(self, name: str) -> None:
        for old in saved(self._directory, name)[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)  # the save has succeeded; the next one tries again

    def restore(self, model: nn.Module, name: str) -> bool:
        """Put the newest whole checkpoint's weights, and nothing else, into `model`; False where there is none."""
        newest = self._newest(name, saved(self._directory, name), is_whole)
        if newest is None:
            return False
        state = {"model": model.state_dict()}
        _fill(state, newest)
        model.load_state_dict(state["model"])
        return True

    def _go_on(self, name: str) -> Path | None:
        """The newest whole one, on every rank. Newer ones make way: what is saved next is not to be pruned for them."""
        paths = distributed.from_first(lambda: swept(self._directory, name))
        newest = self._newest(name, paths, _is_whole_to_all)
        if newest is not None:
            distributed.from_first(lambda: set_aside(paths[paths.index(newest) + 1 :]))
        return newest

    def _newest(self, name: str, paths: Sequence[Path], whole: Callable[[Path], bool]) -> Path | None:
        for path in reversed(paths):
            if whole(path):
                return path
            if distributed.rank() == 0:
                print(f"workstation: {path} does not match its checksum; trying the one before it", file=sys.stderr)
        if paths:
            raise CheckpointError(
                f"no checkpoint of {name} in {self._directory} is whole", remedy="Start again without --resume."
            )
        return None


def _is_whole_to_all(path: Path) -> bool:
    """Each rank reads its share of the files."""
    rank, size = distributed.rank(), distributed.size()
    mine = distributed.awaited(distributed.in_background(lambda: is_whole(path, rank, size)))
    return not distributed.any_of([not mine])[0]


def _told(fit: Fit) -> dict[str, Any]:
    """What a fit must have in common with what it goes on from."""
    return {
        "epochs": fit.epochs,
        "optimizer": type(fit.optimizer).__name__,
        "scheduler": type(fit.scheduler).__name__ if fit.scheduler is not None else "none",
        "parameters": sum(parameter.numel() for parameter in fit.model.parameters()),
    }


def _state(fit: Fit) -> dict[str, Any]:
    # Not the optimiser's own state_dict: it numbers its parameters, and cannot say whose a moment is.
    model, optimizer = get_state_dict(fit.model, fit.optimizer)
    rest = io.BytesIO()
    torch.save(
        {
            "told": _told(fit),
            "scheduler": fit.scheduler.state_dict() if fit.scheduler is not None else None,
            "losses": fit.losses,
            "curve": fit.curve,
            # Raises DivergedError: a model that has diverged never takes the place of a good one.
            "unread": fit.read() if fit.unread else torch.empty(0),
            "weights": fit.weights,
            "chance": chance(),
            "dawn": fit.dawn,
        },
        rest,
    )
    return {"model": model, "optimizer": optimizer, "rest": rest.getvalue()}


def _fill(state: dict[str, Any], path: Path, group: dist.ProcessGroup | None = None) -> None:
    try:
        dcp.load(state, checkpoint_id=path, process_group=group)
    except CheckpointException as error:
        reason, _ = next(iter(error.failures.values()))
        raise CheckpointError(
            f"{path} does not fit this model and optimiser: {str(reason).splitlines()[0]}",
            remedy="Go on with those it was saved from, or start again in a new directory.",
        ) from error


def _load(fit: Fit, path: Path, group: dist.ProcessGroup | None) -> None:
    def fill(state: dict[str, Any]) -> dict[str, Any]:
        distributed.awaited(distributed.in_background(lambda: _fill(state, path, group)))
        return state

    rest = torch.load(io.BytesIO(fill({"rest": b""})["rest"]), map_location="cpu", weights_only=True)
    _compare(rest.get("told"), _told(fit), path)
    model, optimizer = get_state_dict(fit.model, fit.optimizer)
    state = fill({"model": model, "optimizer": optimizer})
    set_state_dict(fit.model, fit.optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    if fit.scheduler is not None:
        fit.scheduler.load_state_dict(rest["scheduler"])
    fit.losses[:], fit.curve[:], fit.weights[:] = rest["losses"], rest["curve"], rest["weights"]
    # A step's loss is the sum of what the ranks have of it: the first has all, the others nothing.
    unread = rest["unread"] if distributed.rank() == 0 else torch.zeros_like(rest["unread"])
    fit.unread[:] = unread.to(next(fit.model.parameters()).device).unbind()
    fit.dawn = rest["dawn"]
    set_chance(rest["chance"])


def _compare(kept: dict[str, Any] | None, now: dict[str, Any], path: Path) -> None:
    if not kept:
        raise CheckpointError(
            f"{path} was saved by an older version of this image", remedy="Start again in a new directory."
        )
    other = [f"{what} {kept[what]}, not {value}" for what, value in now.items() if kept[what] != value]
    if other:
        raise CheckpointError(
            f"{path} was saved with {'; '.join(other)}",
            remedy="Go on with what it was saved with, or start again in a new directory.",
        )
