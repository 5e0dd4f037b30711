"""The same seed, the same numbers."""

from __future__ import annotations

import random
from typing import Any

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


def chance() -> dict[str, Any]:
    """Where the generators stand that a seed sets, the current GPU's among them: plain values, safe to load."""
    numpy = np.random.get_state(legacy=False)
    return {
        "python": random.getstate(),
        "numpy": numpy | {"state": numpy["state"] | {"key": numpy["state"]["key"].tolist()}},
        "torch": torch.get_rng_state(),
        # Asked on a GPU that nothing runs on, this would start CUDA there, in each process of a job on the CPU.
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def set_chance(kept: dict[str, Any]) -> None:
    """Put them there again. A GPU's stay where they are if none was used, then or now."""
    random.setstate(kept["python"])
    np.random.set_state(kept["numpy"])
    torch.set_rng_state(kept["torch"])
    if kept["cuda"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(kept["cuda"])
