"""How much memory a training run takes, by arithmetic, before it starts. No torch here.

What autograd keeps is counted for the operations as the model is written, with a norm in one kernel, as a GPU has it.
A compiled graph keeps less. So this is an upper estimate of what the tensors take; RESERVE is for what is beside them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from workstation.doctor.units import size
from workstation.errors import WorkstationError
from workstation.llm.settings import PRESETS, Preset, Recipe, Shape

RESERVE = 0.08  # of the memory: CUDA's context, the allocator's fragments, kernels' work space
HALF, FULL = 2, 4  # bytes of a bfloat16 and of a float32


def usable(available: int) -> int:
    """What of a device's bytes tensors can have."""
    return int(available * (1 - RESERVE))


class MemoryTooSmallError(WorkstationError):
    """The run would die for lack of memory, minutes later and with a worse message."""

    exit_code = 69


@dataclass(frozen=True)
class Need:
    """Bytes."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return sum(dataclasses.astuple(self))


def need(shape: Shape, recipe: Recipe, length: int | None = None, *, products: bool = False) -> Need:
    """For one GPU that trains `recipe`'s micro-batches, rows of `length` (default: the whole context).

    `products`: where it recomputes, what matrix products and attention have answered is kept all the same.
    """
    length = length or shape.context
    tokens = recipe.micro_batch * length
    whole = recipe.precision == "mixed"
    stream = FULL if whole else HALF  # what runs from layer to layer
    each = FULL if whole else HALF
    # Autocast makes a bfloat16 copy of each matrix, once a micro-batch.
    copies = HALF * shape.parameters if whole else 0
    layer = tokens * layer_bytes(shape, stream)
    kept = tokens * recomputed_bytes(shape, stream, products) if recipe.recompute else layer
    last_norm = tokens * shape.width * (stream + HALF)
    activations = shape.layers * kept + (layer if recipe.recompute else 0) + last_norm
    gradients = each * shape.parameters
    # In bfloat16, in float32 for the loss, and the gradient of that. Validation, in the same parts, takes no more.
    logits = tokens * shape.padded_vocabulary * (HALF + FULL + FULL) // recipe.loss_chunks
    if recipe.accumulate > 1 and not recipe.recompute:
        # One graph of the whole hands back a micro-batch's gradients at once, where its activations were.
        activations = max(activations, gradients - logits)
    return Need(
        weights=each * shape.parameters + copies,
        gradients=gradients,
        optimizer=2 * each * shape.parameters,  # Adam's two means
        activations=activations,
        logits=logits,
    )


def layer_bytes(shape: Shape, stream: int) -> int:
    """What one layer keeps of one token for its backward pass."""
    shared = shape.kv_heads * shape.head_width
    norms = 2 * (stream + HALF) * shape.width  # in and out
    attention = HALF * (2 * shape.width + 2 * shared)  # queries, keys, values, output
    feed = HALF * 4 * shape.hidden  # gate, its SiLU, up, their product
    return norms + attention + feed


def recomputed_bytes(shape: Shape, stream: int, products: bool) -> int:
    """The same of a layer that computes the rest once more."""
    shared = shape.kv_heads * shape.head_width
    answers = HALF * (2 * shape.width + 2 * shared + 2 * shape.hidden)  # queries, keys, values, output, gate, up
    return stream * shape.width + (answers + stream * shape.width if products else 0)  # the stream, twice a layer


def keeps_products(preset: Preset, available: int) -> bool:
    """Whether `available` bytes are enough to compute no product twice: a quarter less work."""
    return need(preset.shape, preset.recipe, products=True).total <= usable(available)


def must_fit(preset: Preset, available: int, where: str) -> Need:
    """What the run needs; MemoryTooSmallError where `available` bytes are not enough, with what would fit."""
    needed, room = need(preset.shape, preset.recipe), usable(available)
    if needed.total <= room:
        return needed
    rows = largest_micro_batch(preset, room)
    if rows:
        remedy = f"--micro-batch {rows} fits; the result is the same, in more and smaller parts."
    else:
        fitting = [other.name for other in PRESETS.values() if largest_micro_batch(other, room)]
        remedy = f"Not a single row of it fits. What fits: {', '.join(fitting) or 'none of the presets'}."
    raise MemoryTooSmallError(
        f"preset {preset.name} needs {size(needed.total)} (weights {size(needed.weights)}, gradients "
        f"{size(needed.gradients)}, optimiser {size(needed.optimizer)}, activations {size(needed.activations)}, "
        f"logits {size(needed.logits)}) and {where} has {size(room)} to give",
        remedy=remedy,
    )


def largest_micro_batch(preset: Preset, room: int) -> int:
    """Rows: the largest that divides the batch and fits; 0 where not even one row does."""
    for accumulate in range(1, preset.recipe.batch + 1):
        if preset.recipe.batch % accumulate == 0:
            recipe = dataclasses.replace(preset.recipe, accumulate=accumulate)
            if need(preset.shape, recipe).total <= room:
                return recipe.micro_batch
    return 0
