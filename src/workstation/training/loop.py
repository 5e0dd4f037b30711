"""The training loop. There is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from workstation.errors import WorkstationError
from workstation.training.settings import Settings

Batch = Sequence[Tensor]


class DivergedError(WorkstationError):
    """The loss is no longer a number: nothing that follows can be trusted."""

    exit_code = 70


@dataclass
class Fit:
    """A fit under way, as its hooks see it."""

    name: str
    model: nn.Module
    optimizer: Optimizer
    epochs: int
    scheduler: LRScheduler | None = None
    losses: list[float] = field(default_factory=list)  # the mean loss of each finished epoch


class Hook:
    """Watches a fit. Every method is called by `fit` alone; a hook overrides those it cares about."""

    def start(self, fit: Fit) -> None:
        """Before the first epoch. A hook that restores a fit fills `fit.losses` with the epochs already done."""

    def epoch(self, fit: Fit) -> None:
        """After each epoch; `fit.losses[-1]` is its mean loss."""

    def end(self, fit: Fit) -> None:
        """After the last epoch, and also when the fit is cut short."""


def fit(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: Optimizer,
    *,
    epochs: int,
    settings: Settings,
    scheduler: LRScheduler | None = None,
    hooks: Sequence[Hook] = (),
    name: str = "train",
) -> list[float]:
    """Train `model` in place and return the mean loss of each epoch.

    `batches` is walked once an epoch, after its `set_epoch` where it has one. The last tensor of a batch is the target,
    those before it are the model's inputs. `scheduler` steps after each epoch. Raises DivergedError at the first epoch
    whose loss is not finite.
    """
    state = Fit(name, model.to(settings.device), optimizer, epochs, scheduler)
    for hook in hooks:
        hook.start(state)
    forward = torch.compile(model) if settings.compile else model
    try:
        for epoch in range(len(state.losses), epochs):
            if hasattr(batches, "set_epoch"):
                batches.set_epoch(epoch)
            mean = _one_epoch(state, forward, batches, loss, settings)
            if not math.isfinite(mean):
                raise DivergedError(
                    f"{name}: the loss is {mean} at epoch {epoch + 1} of {epochs}",
                    remedy="Lower the learning rate, or bring inputs and targets to the scale of 1.",
                )
            state.losses.append(mean)
            if scheduler is not None:
                scheduler.step()
            for hook in hooks:
                hook.epoch(state)
    finally:
        for hook in hooks:
            hook.end(state)
    return state.losses


def _one_epoch(
    state: Fit,
    forward: Callable[..., Tensor],
    batches: Iterable[Batch],
    loss: Callable[[Tensor, Tensor], Tensor],
    settings: Settings,
) -> float:
    state.model.train()
    device = settings.device
    # Summed on the device and read once: reading it each step would make a GPU wait for Python.
    total, rows = torch.zeros((), device=device), 0
    for batch in batches:
        *inputs, target = (tensor.to(device, non_blocking=True) for tensor in batch)
        state.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.amp):
            value = loss(forward(*inputs), target)
        value.backward()
        state.optimizer.step()
        total += value.detach() * len(target)
        rows += len(target)
    mean: float = total.item() / rows
    return mean


def predict(model: nn.Module, *inputs: Tensor, settings: Settings) -> Tensor:
    """The model's answer for `inputs`, in evaluation mode, on the CPU."""
    model.to(settings.device).eval()
    with torch.inference_mode():
        answer: Tensor = model(*(tensor.to(settings.device) for tensor in inputs)).cpu()
    return answer
