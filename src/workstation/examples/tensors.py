"""Tensors, graphs that follow the input, gradients by hand, and torch.compile (both articles, §1.2, §2 and §3).

The article calls dynamic graphs and autograd news of PyTorch 2.0. Both are as old as PyTorch; what 2.0 brought is
torch.compile. It also says that autograd loses precision: it is exact to rounding, and it is finite differences,
which it is here compared with, that are not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workstation.training.loop import Hook
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

DATA = "random numbers"
PROMISE = "gradients by hand equal autograd's to 1e-10, the graph follows the input, compiled equals eager to 1e-5"


@dataclass(frozen=True)
class Result:
    gradient_error: float  # largest |by hand − autograd|, float64
    finite_difference_error: float  # the best that any step width reaches
    graph_of_positive: str
    graph_of_negative: str
    graph_breaks: int  # where torch.compile hands back to Python
    compiled_difference: float  # largest |compiled − eager|, float32
    first_call_seconds: float  # compiling
    eager_ms: float
    compiled_ms: float

    def holds(self) -> bool:
        follows_input = self.graph_of_positive != self.graph_of_negative
        return self.gradient_error < 1e-10 and follows_input and self.compiled_difference < 1e-5


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:  # noqa: ARG001 - nothing is trained here
    """All of it once; `settings.epochs` has no meaning here."""
    seed_everything(settings.seed)
    eager, compiled, first_call, difference = _race(torch.randn(2_000_000, device=settings.device))
    return Result(
        gradient_error=_gradient_error(settings.device),
        finite_difference_error=min(finite_difference_error(10.0**-power) for power in range(1, 13)),
        graph_of_positive=" ".join(operations(branch(torch.tensor(2.0, requires_grad=True)))),
        graph_of_negative=" ".join(operations(branch(torch.tensor(-2.0, requires_grad=True)))),
        graph_breaks=graph_breaks(branch, torch.tensor(2.0)),
        compiled_difference=difference,
        first_call_seconds=first_call,
        eager_ms=eager * 1e3,
        compiled_ms=compiled * 1e3,
    )


def branch(x: Tensor) -> Tensor:
    """Plain Python decides, at run time and by the value, which operation is recorded."""
    return x.exp() if x > 0 else x.square()


def operations(result: Tensor) -> list[str]:
    """The names of the graph's nodes from `result` back to the leaves: node = operation, edge = `next_functions`."""
    names, waiting = [], [result.grad_fn]
    while waiting:
        node = waiting.pop(0)
        if node is not None:
            names.append(node.name().rpartition("::")[2])
            waiting += [earlier for earlier, _ in node.next_functions]
    return names


def gradients_by_hand(x: Tensor, y: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """∂/∂(w1, b1, w2, b2) of the MSE of tanh(x·w1 + b1)·w2 + b2, by the chain rule.

    x (n, d), y (n, 1); weights: w1 (d, h), b1 (h,), w2 (h, 1), b2 (1,).
    """
    w1, b1, w2, b2 = weights
    hidden = torch.tanh(x @ w1 + b1)  # (n, h)
    error = 2 / len(x) * (hidden @ w2 + b2 - y)  # (n, 1): ∂MSE/∂prediction
    back = error @ w2.T * (1 - hidden.square())  # (n, h): through tanh' = 1 − tanh²
    return [x.T @ back, back.sum(dim=0), hidden.T @ error, error.sum(dim=0)]


def _gradient_error(device: torch.device) -> float:
    shapes = [(32, 10), (32, 1), (10, 8), (8,), (8, 1), (1,)]
    x, y, *weights = (torch.randn(shape, dtype=torch.float64, device=device) for shape in shapes)
    w1, b1, w2, b2 = (weight.requires_grad_() for weight in weights)
    loss = (torch.tanh(x @ w1 + b1) @ w2 + b2 - y).square().mean()
    automatic = torch.autograd.grad(loss, weights)
    with torch.no_grad():
        by_hand = gradients_by_hand(x, y, weights)
    return max(float((ours - theirs).abs().max()) for ours, theirs in zip(by_hand, automatic, strict=True))


def finite_difference_error(width: float) -> float:
    """|(f(1+h) − f(1−h)) / 2h − f'(1)| for f(x) = sin(eˣ), in float64. The truth is cos(e)·e."""
    at = torch.tensor([1 + width, 1 - width], dtype=torch.float64)
    above, below = torch.sin(torch.exp(at))
    one = torch.tensor(1.0, dtype=torch.float64)
    truth = torch.cos(one.exp()) * one.exp()
    error: float = ((above - below) / (2 * width) - truth).abs().item()
    return error


def pointwise(x: Tensor) -> Tensor:
    """Seven small operations. Eager code reads and writes memory for each of them; compiled code does so once."""
    return torch.sigmoid(x * 1.5 + 0.5) * torch.tanh(x) - x.abs() * 0.1


def graph_breaks(function: Callable[..., Tensor], *arguments: Tensor) -> int:
    """In how many places torch.compile must leave the graph and ask Python, here for the value of `x > 0`."""
    count: int = torch._dynamo.explain(function)(*arguments).graph_break_count
    return count


def _race(x: Tensor) -> tuple[float, float, float, float]:
    """Seconds a call of `pointwise` eager and compiled, of the first compiled call, and how far the answers differ."""
    compiled = torch.compile(pointwise)
    first_call = _seconds(compiled, x, repeats=1)
    difference = (compiled(x) - pointwise(x)).abs().max().item()
    return _seconds(pointwise, x), _seconds(compiled, x), first_call, difference


def _seconds(function: Callable[[Tensor], Tensor], x: Tensor, repeats: int = 10) -> float:
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        function(x)
        if x.is_cuda:
            torch.cuda.synchronize()  # a GPU's call returns before its work is done
        best = min(best, time.perf_counter() - began)
    return best
