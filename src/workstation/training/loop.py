"""The training loop. There is one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from workstation.errors import WorkstationError
from workstation.training import distributed
from workstation.training.parallel import (
    average_statistics,
    clear_gradients,
    own_chance,
    parallel,
    rank_shares,
    reducing,
)
from workstation.training.seed import chance, set_chance
from workstation.training.settings import Settings

Batch = Sequence[Tensor]


class DivergedError(WorkstationError):
    """The loss is no longer a number: nothing that follows can be trusted."""

    exit_code = 70


class NoBatchesError(WorkstationError):
    """An epoch had nothing to learn from."""

    exit_code = 65


@dataclass
class Fit:
    """A fit under way, as its hooks see it."""

    name: str
    model: nn.Module
    optimizer: Optimizer
    epochs: int
    scheduler: LRScheduler | None = None
    losses: list[float] = field(default_factory=list)  # the mean loss of each finished epoch
    curve: list[float] = field(default_factory=list)  # the loss of each step of the finished epochs
    # Of the epoch under way, a loss and a weight a step. The losses stay on the device (reading one makes a GPU wait)
    # and each rank's own: their sum over the ranks is the batch's.
    unread: list[Tensor] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    dawn: dict[str, Any] = field(default_factory=dict)  # where the random generators stood when that epoch began

    @property
    def step(self) -> int:
        """Optimiser steps so far."""
        return len(self.curve) + len(self.unread)

    def read(self) -> Tensor:
        """The losses of the epoch under way, (steps,), on the CPU. DivergedError where one, or a weight, is not finite.

        All ranks read, or none: it adds up what each of them has.
        """
        values = torch.stack([*self.unread, self._unsound()]).cpu()
        if distributed.size() > 1:
            dist.all_reduce(values)
        bad = (~values.isfinite()).nonzero().flatten().tolist()
        if bad:
            # A step's loss is of the weights before it: what the last step did to them no loss has shown yet.
            weights = bad[0] == len(self.unread)
            step = self.step if weights else len(self.curve) + bad[0] + 1
            what = "a weight is no longer a number after" if weights else f"the loss is {values[bad[0]].item()} at"
            raise DivergedError(
                f"{self.name}: {what} step {step}, in epoch {len(self.losses) + 1} of {self.epochs}",
                remedy="Lower the learning rate, or bring inputs and targets to the scale of 1.",
            )
        return values[:-1]

    def _unsound(self) -> Tensor:
        """0, or NaN where one of this rank's weights is not finite."""
        trained = [weight.detach() for weight in self.model.parameters() if weight.requires_grad]
        local = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in trained]
        sound = torch.stack([weight.isfinite().all() for weight in local]).all()
        return torch.where(sound, 0.0, torch.nan).to(self.unread[0])

    def close_epoch(self) -> None:
        """Move the epoch under way to the finished ones; its mean loss weighs each step as the batch did."""
        if not self.unread:
            raise NoBatchesError(
                f"{self.name}: epoch {len(self.losses) + 1} has no batches",
                remedy="Give batches that can be walked once an epoch: a list or a loader, not a generator.",
            )
        values, weights = self.read(), torch.tensor(self.weights, dtype=torch.float64)
        self.losses.append(float((values * weights).sum() / weights.sum()))
        self.curve += values.tolist()
        self.unread.clear()
        self.weights.clear()


class Hook:
    """Watches a fit. Every method is called by `fit` alone; a hook overrides those it cares about."""

    def start(self, fit: Fit) -> None:
        """Before the first epoch. A hook that restores a fit fills its `losses`, `curve`, `unread` and `weights`."""

    def step(self, fit: Fit) -> None:
        """After each optimiser step. Must not read from the device at every call."""

    def epoch(self, fit: Fit) -> None:
        """After each epoch; `fit.losses[-1]` is its mean loss."""

    def end(self, fit: Fit) -> None:
        """After the last epoch, and also when the fit is cut short."""


def fit(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: Callable[[Any, Tensor], Tensor],
    optimizer: Optimizer,
    *,
    epochs: int,
    settings: Settings,
    scheduler: LRScheduler | None = None,
    schedule: Literal["epoch", "step"] = "epoch",
    accumulate: int = 1,
    clip: float | None = None,
    weight: Callable[[Tensor], int] = len,
    hooks: Sequence[Hook] = (),
    name: str = "train",
) -> list[float]:
    """Train `model` in place and return the mean loss of each epoch.

    `batches` is walked once an epoch, after its `set_epoch` where it has one. Each batch is one optimiser step. Its
    last tensor is the target, those before it are the model's inputs; all have the rows first. `loss` is given what the
    model answers, whatever its form, and the target. It is a mean over what `weight` counts in a target: rows, unless
    said otherwise. So a batch that `accumulate` cuts into that many micro-batches, to fit a smaller memory, gives the
    gradient of the whole. `clip` bounds the gradient's norm. `scheduler` steps after each epoch or step, as `schedule`
    says.

    In a job of many processes every one is given the same whole batches and takes its own rows of each: the gradient is
    that of the whole batch, however many they are. With `settings.shard` a copy is trained, in parts, and its moments
    are gone afterwards; `loss` must then know `model` by what it answers alone.

    Raises DivergedError at the end of the first epoch in which a loss is not finite, and names the step.
    """
    with (
        parallel(model.to(settings.device), optimizer, settings) as (trained, replica),
        _watched(Fit(name, trained, optimizer, epochs, scheduler), hooks) as state,
    ):
        gradient = _Gradient(replica, loss, weight, accumulate, settings)
        for epoch in range(len(state.losses), epochs):
            trained.train()
            for batch in _from(batches, epoch, state):
                clear_gradients(optimizer, replica)
                state.unread.append(gradient.add(batch, state.step))
                state.weights.append(weight(batch[-1]))
                if clip is not None:
                    nn.utils.clip_grad_norm_(trained.parameters(), clip)
                optimizer.step()
                average_statistics(trained)
                if scheduler is not None and schedule == "step":
                    scheduler.step()
                for hook in hooks:
                    hook.step(state)
            state.close_epoch()
            if scheduler is not None and schedule == "epoch":
                scheduler.step()
            for hook in hooks:
                hook.epoch(state)
    return state.losses


@contextmanager
def _watched(state: Fit, hooks: Sequence[Hook]) -> Iterator[Fit]:
    """The fit from its hooks' start to their end, which comes also when it, or another hook's start, is cut short."""
    with ExitStack() as begun:
        for hook in hooks:
            hook.start(state)
            begun.callback(hook.end, state)
        yield state


def _from(batches: Iterable[Batch], epoch: int, state: Fit) -> Iterator[Batch]:
    """The batches of `epoch` but for those that a resumed fit has seen of it already."""
    if hasattr(batches, "set_epoch"):
        batches.set_epoch(epoch)
    now, done = chance(), len(state.unread)
    if done:
        set_chance(state.dawn)  # a loader draws its order as it begins: once more the one that it had
    else:
        state.dawn = now
    iterator = iter(batches)
    for _ in itertools.islice(iterator, done):
        pass
    if done:
        set_chance(now)
    return iterator


class _Gradient:
    """How a batch becomes a gradient."""

    def __init__(
        self,
        replica: nn.Module,
        loss: Callable[[Any, Tensor], Tensor],
        weight: Callable[[Tensor], int],
        accumulate: int,
        settings: Settings,
    ) -> None:
        self._replica = replica
        self._forward = torch.compile(replica) if settings.compile else replica
        self._loss = loss
        self._weight = weight
        self._accumulate = accumulate
        self._settings = settings

    def add(self, batch: Batch, step: int) -> Tensor:
        """Add the gradient of the batch's mean loss to the parameters'; return this rank's share of that loss."""
        whole = self._weight(batch[-1])
        pieces = zip(*(tensor.split(-(-len(tensor) // self._accumulate)) for tensor in batch), strict=True)
        # Where nothing in it is asked for, a mean over nothing is not a number.
        micros = [micro for micro in pieces if self._weight(micro[-1])]
        total = torch.zeros((), dtype=torch.float64, device=self._settings.device)
        with own_chance(self._settings, step):
            for number, micro in enumerate(micros, start=1):
                with reducing(self._replica, now=number == len(micros)):
                    total += self._backward(micro, whole)
        return total

    def _backward(self, micro: Batch, whole: int) -> Tensor:
        device, shares = self._settings.device, rank_shares(micro)
        mine = shares[distributed.rank()]
        part = self._weight(mine[-1])
        if part == 0:  # the others wait for this rank's gradient: nought times that of somebody's rows
            mine = next(share for share in shares if self._weight(share[-1]))
        *inputs, target = (_moved(tensor, device) for tensor in mine)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._settings.amp):
            value = self._loss(self._forward(*inputs), target) * (part / whole)
        (value * distributed.size()).backward()  # the ranks' mean is then the sum
        return value.detach()


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """On `device`. From pinned memory alone does a copy to a GPU go on beside the host."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.contiguous().pin_memory()
    return tensor.to(device, non_blocking=True)


def predict(model: nn.Module, *inputs: Tensor, settings: Settings) -> Tensor:
    """The model's answer for `inputs`, in evaluation mode, on the CPU."""
    model.to(settings.device).eval()
    with torch.inference_mode():
        answer: Tensor = model(*(tensor.to(settings.device) for tensor in inputs)).cpu()
    return answer
