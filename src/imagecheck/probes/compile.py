"""Whether torch.compile compiles: compile.py DEVICE. Forward and backward against eager, with what Inductor made."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

# A cached kernel would hide that the compiler is gone.
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = (
    "1"  # a pool of workers, each with its own torch, costs more than it saves
)

import torch


def function(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.gelu(x @ weight).sin().square().sum(dim=-1).mean()


def forward_backward(
    run: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(64, 32, device=device)
    weight = torch.randn(32, 16, device=device, requires_grad=True)
    loss = run(x, weight)
    loss.backward()
    assert weight.grad is not None
    return loss.detach(), weight.grad


def attempt(device: str) -> dict[str, object]:
    import torch._dynamo
    from torch._dynamo.utils import counters
    from torch._inductor import metrics

    torch._dynamo.reset()
    metrics.reset()
    started = time.monotonic()
    loss, gradient = forward_backward(torch.compile(function, fullgraph=True), device)
    seconds = time.monotonic() - started
    loss_eager, gradient_eager = forward_backward(function, device)
    return {
        "graphs": counters["stats"]["unique_graphs"],
        "kernels": metrics.generated_kernel_count,
        "graph_breaks": sum(counters["graph_break"].values()),
        "loss_error": abs((loss - loss_eager).item()),
        "gradient_error": (gradient - gradient_eager).abs().max().item(),
        "seconds": round(seconds, 2),
    }


def main() -> None:
    document: dict[str, object] = {
        "device": sys.argv[1],
        "uid": os.getuid(),
        "folder": str(Path.cwd()),
    }
    try:
        document.update(attempt(sys.argv[1]))
    except Exception as error:  # whatever it is, it is the finding
        document["error"] = f"{type(error).__name__}: {str(error).strip()[:2000]}"
    print(json.dumps(document))


if __name__ == "__main__":
    main()
