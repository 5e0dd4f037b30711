"""Linear regression three ways (A1 §4.1–4.2; A2 §4.1–4.3): solved, descended by hand, and trained by PyTorch.

The article trains "on random data" that it never defines. Here are 200 rows of y = 2x + 1 with a known noise, so each
way can be held against the others: all three must find the same least-squares line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

ROWS, NOISE = 200, 0.2
SLOPE, INTERCEPT = 2.0, 1.0
AT, TRUTH = 2.0, 5.0  # the article asks for the prediction at x = 2

DATA = "200 rows of y = 2x + 1 + noise, made from the seed"
PROMISE = "solved, descended and trained agree to 0.01 at x = 2, and all are within four standard errors of 5"


@dataclass(frozen=True)
class Result:
    """Predictions at x = 2."""

    solved: float
    descended: float
    trained: float
    standard_error: float  # of `solved`, from the noise alone

    def holds(self) -> bool:
        answers = (self.solved, self.descended, self.trained)
        near_truth = all(abs(answer - TRUTH) < 4 * self.standard_error + 0.01 for answer in answers)
        return near_truth and max(answers) - min(answers) < 0.01


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    x, y = data(settings.seed)
    return Result(
        solved=line_at(solve(x, y)),
        descended=line_at(descend(x, y)[-1]),
        trained=line_at(train(x, y, settings, hooks)),
        standard_error=standard_error(x),
    )


def data(seed: int) -> tuple[Tensor, Tensor]:
    """x uniform on [−1, 3], y = 2x + 1 + noise; both (200, 1)."""
    generator = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(ROWS, 1, generator=generator) - 1
    return x, SLOPE * x + INTERCEPT + NOISE * torch.randn(ROWS, 1, generator=generator)


def line_at(line: tuple[float, float], x: float = AT) -> float:
    """`line` is (intercept, slope)."""
    return line[0] + line[1] * x


def solve(x: Tensor, y: Tensor) -> tuple[float, float]:
    """The least-squares line in one stroke: the normal equations XᵀXβ = Xᵀy, solved through a QR decomposition."""
    design = torch.cat([torch.ones_like(x), x], dim=1).double()  # (n, 2)
    intercept, slope = torch.linalg.lstsq(design, y.double()).solution.flatten().tolist()
    return intercept, slope


def descend(x: Tensor, y: Tensor, rate: float = 0.1, steps: int = 300) -> list[tuple[float, float]]:
    """Gradient descent with the derivatives written out; the (intercept, slope) after each step, from zero."""
    intercept = slope = 0.0
    path = [(intercept, slope)]
    for _ in range(steps):
        residual = y - intercept - slope * x  # (n, 1)
        intercept += rate * 2 * residual.mean().item()
        slope += rate * 2 * (residual * x).mean().item()
        path.append((intercept, slope))
    return path


def train(x: Tensor, y: Tensor, settings: Settings, hooks: Sequence[Hook] = ()) -> tuple[float, float]:
    """The same line by `nn.Linear`, autograd and Adam, in mini-batches, as every later chapter trains."""
    seed_everything(settings.seed)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    fit(
        model,
        Batches((x, y), size=50, seed=settings.seed),
        F.mse_loss,
        optimizer,
        epochs=settings.epochs or 100,
        settings=settings,
        hooks=hooks,
        name="linear_regression",
    )
    return model.bias.item(), model.weight.item()


def standard_error(x: Tensor) -> float:
    """How far the solved prediction at x = 2 strays by chance: σ √(1/n + (x − x̄)² / Σ(xᵢ − x̄)²)."""
    spread = (x - x.mean()).square().sum().item()
    return NOISE * math.sqrt(1 / len(x) + (AT - x.mean().item()) ** 2 / spread)
