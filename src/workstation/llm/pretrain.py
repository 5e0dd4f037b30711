"""Pre-training: the preset's recipe, put into the one loop."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from workstation.llm.data import supervised
from workstation.llm.model import Decoder, build
from workstation.llm.settings import Preset, Recipe
from workstation.training.loop import Batch, Hook, fit
from workstation.training.settings import Settings

NAME = "pretrain"


def pretrain(
    model: Decoder, batches: Iterable[Batch], preset: Preset, settings: Settings, hooks: Sequence[Hook] = ()
) -> list[float]:
    """Train `model` in place on batches (tokens, targets, documents if masked, targets); the loss of each stretch.

    Raises DivergedError, which names the step, where a loss is not a number; checkpoints before it are left.
    """
    recipe = preset.recipe
    optimizer = adamw(model, recipe)
    return fit(
        model,
        batches,
        given,
        optimizer,
        epochs=recipe.steps // recipe.stretch,
        settings=settings,
        scheduler=LambdaLR(optimizer, lambda step: share_of_rate(step, recipe)),
        schedule="step",
        accumulate=recipe.accumulate,
        clip=recipe.clip,
        weight=supervised,
        hooks=hooks,
        name=NAME,
    )


def decoder(preset: Preset, device: torch.device) -> Decoder:
    """The preset's model, untrained, in the precision of its recipe."""
    recipe = preset.recipe
    return build(
        preset.shape,
        device,
        dtype=torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32,
        recompute=recipe.recompute,
        loss_chunks=recipe.loss_chunks,
    )


def given(loss: Tensor, _targets: Tensor) -> Tensor:
    """The decoder has computed its loss itself."""
    return loss


def adamw(model: Decoder, recipe: Recipe) -> AdamW:
    """One kernel for all weights (fused). Gains are not decayed: 1 is their rest, not 0."""
    matrices = [weight for weight in model.parameters() if weight.ndim == 2]
    gains = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": gains, "weight_decay": 0.0}]
    return AdamW(groups, lr=recipe.rate, betas=(0.9, 0.95), fused=True)


def share_of_rate(step: int, recipe: Recipe) -> float:
    """Up in a line, down in half a cosine."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.last_rate + (1 - recipe.last_rate) * (1 + math.cos(math.pi * min(1.0, done))) / 2
