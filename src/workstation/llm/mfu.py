"""Model FLOPs utilisation: which share of a GPU's arithmetic goes into the model. No torch here.

    MFU = tokens/s · (6 N + 12 · L · d · T) / peak

6 N: two operations a weight and token forward, four backward. N counts every weight of a matrix product: the output
head, but not the embedding, which is looked up (a tied table counts once, as the head). 12 L d T: attention's two
products over T places, not halved although half of them are masked (Chowdhery et al. 2022, appendix B). Recomputation
is work that the model did not ask for, so it does not count.
"""

from __future__ import annotations

from workstation.llm.settings import Shape

FORMULA = "(6 N + 12 L d T) a token, N without the embedding, not halved for causality"

# Dense bfloat16 operations a second, from NVIDIA's data sheets; the first that a GPU's name contains.
PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,  # SXM
    "GH200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
    "A6000": 155e12,
}


def peak(device: str) -> float | None:
    """The peak of the GPU called `device`; None where it is not known here, or is no GPU."""
    return next((operations for name, operations in PEAKS.items() if name in device), None)


def multiplied(shape: Shape) -> int:
    """N: the weights that take part in a matrix product."""
    gains = shape.width * (2 * shape.layers + 1)
    lookups = 0 if shape.tied else shape.padded_vocabulary * shape.width
    return shape.parameters - gains - lookups


def flops_per_token(shape: Shape, length: int) -> int:
    """Forward and backward, for rows of `length` tokens."""
    return 6 * multiplied(shape) + 12 * shape.layers * shape.width * length


def mfu(tokens_per_second: float, shape: Shape, length: int, operations: float) -> float:
    """The share of `operations` a second that these tokens a second make use of."""
    return tokens_per_second * flops_per_token(shape, length) / operations
