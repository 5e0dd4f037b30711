"""How the weights are moved: AdamW, or Muon for the matrices of the layers and AdamW for the rest."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from workstation.llm.model import Decoder
from workstation.llm.settings import Recipe

BETAS = (0.9, 0.95)


class MuonAndAdamW(Optimizer):
    """The two as one: one list of groups, one state, so that one schedule moves it and one checkpoint holds it."""

    def __init__(self, muon: Muon, adamw: AdamW) -> None:
        self._parts = (muon, adamw)
        super().__init__(muon.param_groups + adamw.param_groups, {})
        self._share()

    def step(self, closure: None = None) -> None:  # noqa: ARG002 - the base class's signature
        for part in self._parts:
            part.step()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Called when a checkpoint is loaded: groups and state are new objects then."""
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        muon, adamw = self._parts
        middle = len(muon.param_groups)
        muon.param_groups, adamw.param_groups = self.param_groups[:middle], self.param_groups[middle:]
        muon.state = adamw.state = self.state


def optimizer(model: Decoder, recipe: Recipe) -> Optimizer:
    """One fused kernel moves all of AdamW's weights. Gains are not decayed: they rest at 1, not at 0."""
    inner = [weight for weight in model.blocks.parameters() if weight.ndim == 2]
    of_layers = {id(weight) for weight in inner}
    tables = [weight for weight in model.parameters() if weight.ndim == 2 and id(weight) not in of_layers]
    gains = {"params": [weight for weight in model.parameters() if weight.ndim == 1], "weight_decay": 0.0}
    if recipe.optimizer == "adamw":
        groups = [{"params": inner + tables, "weight_decay": recipe.decay}, gains]
        return AdamW(groups, lr=recipe.rate, betas=BETAS, fused=True)
    # Steps of the size that AdamW's have (Liu et al. 2025), so that one rate fits both.
    muon = Muon(inner, lr=recipe.rate, weight_decay=recipe.decay, adjust_lr_fn="match_rms_adamw")
    # A token that a stretch never shows should not fade away: its row of the table is not decayed.
    rest = [{"params": tables, "weight_decay": 0.0}, gains]
    return MuonAndAdamW(muon, AdamW(rest, lr=recipe.rate, betas=BETAS, fused=True))


def schedule(moved: Optimizer, recipe: Recipe) -> LambdaLR:
    """Steps once a step."""
    return LambdaLR(moved, lambda step: share_of_rate(step, recipe))


def share_of_rate(step: int, recipe: Recipe) -> float:
    """Up in a line, down in half a cosine."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.last_rate + (1 - recipe.last_rate) * (1 + math.cos(math.pi * min(1.0, done))) / 2
