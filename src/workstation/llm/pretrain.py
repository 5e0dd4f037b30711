"""Pre-training: the preset's recipe, put into the one loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from workstation.llm.data import supervised
from workstation.llm.model import Decoder, build
from workstation.llm.optimizer import optimizer, schedule
from workstation.llm.settings import Preset, Recipe
from workstation.training import distributed
from workstation.training.loop import Batch, Hook, fit
from workstation.training.settings import Settings

NAME = "pretrain"
# Of what a block could keep for its backward pass: nothing but what goes in; all that a product or attention has
# answered, so that none of them is computed twice (what the compiler makes of either: docs/benchmarks/llm.md); all.
NOTHING, PRODUCTS, EVERYTHING = 0.0, 0.8, 1.0


def pretrain(
    model: Decoder, batches: Iterable[Batch], recipe: Recipe, settings: Settings, hooks: Sequence[Hook] = ()
) -> list[float]:
    """Train `model` in place on batches (tokens, targets, documents if masked, targets); the loss of each stretch.

    Raises DivergedError, which names the step, where a loss is not a number; checkpoints before it are left.
    """
    moved = optimizer(model, recipe)
    return fit(
        model,
        batches,
        given,
        moved,
        epochs=recipe.stretches,
        settings=settings,
        scheduler=schedule(moved, recipe),
        schedule="step",
        accumulate=recipe.parts(distributed.size()),
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


def compiled(
    model: Decoder, *, in_parts: bool, products: bool = False, backend: str | Callable[..., Any] = "inductor"
) -> None:
    """One graph of the whole; of a model that is about to be sharded, or that recomputes, a graph of each block.

    FSDP2 gathers a block's weights in hooks before and after it, which no graph goes through. A graph of the whole
    hands back the gradients of all weights at once: a second set of them, from the second micro-batch on, where
    activations are recomputed because there is no room.

    What a model that recomputes keeps is the compiler's to choose then, within a block: with `products`, what is
    cheap to compute is computed again, and nothing else is.
    """
    # DDP would have it cut at every 25 MB of weights, so as to reduce some gradients while others are computed: more
    # than a hundred pieces of 1.5b, for what a step does once, after all of its micro-batches.
    torch._dynamo.config.optimize_ddp = False
    for part in model.blocks if in_parts or model.recompute else [model]:
        part.compile(dynamic=False, backend=backend)
    budget = (PRODUCTS if products else NOTHING) if model.recompute else EVERYTHING
    torch._functorch.config.activation_memory_budget = budget
    model.recompute = False


def given(loss: Tensor, _targets: Tensor) -> Tensor:
    """The decoder has computed its loss itself."""
    return loss
