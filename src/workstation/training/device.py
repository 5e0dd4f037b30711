"""Which device a run computes on. Chosen once, said plainly, never changed in silence."""

from __future__ import annotations

import torch

from workstation.errors import DeviceError

CHOICES = ("auto", "cpu", "cuda")


def choose(name: str = "auto") -> torch.device:
    """`auto` takes the GPU where there is one; `cuda` is a demand and raises DeviceError where there is none."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name not in CHOICES:
        raise DeviceError(f"no device is called {name!r}", remedy=f"Choose one of {', '.join(CHOICES)}.")
    if torch.cuda.is_available():
        return torch.device("cuda")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    raise DeviceError(
        f"--device cuda, but PyTorch {torch.__version__} (built for {build}) sees no GPU",
        remedy="`workstation doctor` says why; --device auto or cpu runs without one.",
    )


def describe(device: torch.device) -> str:
    """A name for people: `cuda (NVIDIA H100)` or `cpu (2 threads)`."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({torch.get_num_threads()} threads)"


def memory(gpu: torch.device) -> int:
    """Bytes it has, whoever else holds some of them."""
    return int(torch.cuda.get_device_properties(gpu).total_memory)
