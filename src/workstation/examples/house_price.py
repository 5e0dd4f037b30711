"""House prices by linear regression (article A1 §4.3 and §5.2).

Three houses: 1000, 1500 and 2000 square feet for 200 000, 300 000 and 400 000. The line through them is y = 200 x,
so a house of 1200 is worth 240 000. The article's program never gets there: Adam moves a weight by about ``lr`` a
step, a hundred steps of 0.01 carry it to about 1, and the price stays near 0. With both sides standardised the answer
lies at 1, within reach.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.training.loop import Hook, fit, predict
from workstation.training.scaling import Standardizer
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

AREA = torch.tensor([[1000.0], [1500.0], [2000.0]])  # (3, 1) square feet
PRICE = torch.tensor([[200_000.0], [300_000.0], [400_000.0]])  # (3, 1)
QUESTION = torch.tensor([[1200.0]])  # (1, 1)
ANSWER = 240_000.0

DATA = "three houses, written in the example"
PROMISE = "the price of 1200 square feet is 240 000 ± 1 %"


@dataclass(frozen=True)
class Result:
    price_of_1200: float
    first_loss: float
    last_loss: float

    def holds(self) -> bool:
        return math.isclose(self.price_of_1200, ANSWER, rel_tol=0.01)


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    """Standardise both sides, then let Adam fit the line. The losses are in units of the price's variance."""
    area, price = Standardizer.learn(AREA), Standardizer.learn(PRICE)
    model, losses = _train(
        area(AREA), price(PRICE), rate=0.1, epochs=settings.epochs or 200, settings=settings, hooks=hooks
    )
    answer = price.invert(predict(model, area(QUESTION), settings=settings))
    return Result(answer.item(), losses[0], losses[-1])


def run_as_printed(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    """The article's own choices: the area in thousands, the price as it is, 100 epochs of Adam at 0.01."""
    model, losses = _train(AREA / 1000, PRICE, rate=0.01, epochs=settings.epochs or 100, settings=settings, hooks=hooks)
    answer = predict(model, QUESTION / 1000, settings=settings)
    return Result(answer.item(), losses[0], losses[-1])


def _train(
    inputs: Tensor, targets: Tensor, *, rate: float, epochs: int, settings: Settings, hooks: Sequence[Hook]
) -> tuple[nn.Module, list[float]]:
    seed_everything(settings.seed)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    batches = [(inputs, targets)]  # three rows: the whole set is one batch
    losses = fit(
        model, batches, F.mse_loss, optimizer, epochs=epochs, settings=settings, hooks=hooks, name="house_price"
    )
    return model, losses


def mse(intercept: float, slope: float) -> float:
    """(1/n) Σ (y − ŷ)², with ŷ = intercept + slope·x, in price²."""
    residual = PRICE.double() - intercept - slope * AREA.double()  # (3, 1)
    mean: float = residual.square().mean().item()
    return mean


def gradient(intercept: float, slope: float) -> tuple[float, float]:
    """Derived by hand: ∂MSE/∂intercept = −(2/n) Σ (y − ŷ) and ∂MSE/∂slope = −(2/n) Σ (y − ŷ)·x."""
    residual = PRICE.double() - intercept - slope * AREA.double()  # (3, 1)
    return -2 * residual.mean().item(), -2 * (residual * AREA.double()).mean().item()


def curvature() -> Tensor:
    """The Hessian of the MSE, (2, 2), in float64: (2/n) XᵀX with X = [1, x]. It is the same everywhere.

    Gradient descent is stable below a rate of 2/λmax, and needs about λmax/λmin steps to settle.
    """
    design = torch.cat([torch.ones_like(AREA), AREA], dim=1).double()  # (3, 2)
    return 2 / len(AREA) * design.T @ design
