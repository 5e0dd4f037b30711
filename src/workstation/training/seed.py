"""The same seed, the same numbers."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (CPU and every GPU).

    On one CPU, one version and one thread count, a run then repeats to the last bit. On a GPU some kernels add in an
    order of their own: there it repeats to rounding.
    """
    random.seed(seed)
    np.random.seed(seed)  # the global generator: libraries draw from it
    torch.manual_seed(seed)
