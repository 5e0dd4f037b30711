"""Recommendation: neural collaborative filtering against matrix factorisation and popularity (A1 §6.3; A2 §6.3, §7.3).

The article lists shops that recommend with deep networks, and cites NCF, whose paper reports that a network on two
embeddings beats their dot product. Rendle et al. (2020) tuned both and found the reverse. Here the tastes are made, so
that one can see what decides. Trained alike, the dot product is ahead where taste is a product; where taste is a narrow
ring the network of the same width is ahead. A dot product of twice the width is level with the network there as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.examples.ratings import FILMS, PEOPLE, WithNegatives, World, product, ring
from workstation.training.loop import Hook, fit, predict
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

WIDTH, WIDE = 6, 12  # numbers that a person and a film each get

DATA = (
    "600 people, 20 of 300 films each, drawn from known tastes (a product, a ring) by the seed, in place of MovieLens"
)
PROMISE = (
    "MF has at least twice popularity's hits; trained alike, it beats NCF by 10 % where taste is a product, and NCF "
    "beats it by 10 % where taste is a ring; MF of twice the width has at least nine tenths of NCF's hits in both"
)


@dataclass(frozen=True)
class Result:
    """HR@10, the share of people whose left-out film is among the first ten of all they have not seen; and NDCG@10."""

    product_popularity: float
    product_mf: float
    product_ncf: float
    product_wide_mf: float
    product_popularity_ndcg: float
    product_mf_ndcg: float
    product_ncf_ndcg: float
    product_wide_mf_ndcg: float
    ring_popularity: float
    ring_mf: float
    ring_ncf: float
    ring_wide_mf: float
    ring_popularity_ndcg: float
    ring_mf_ndcg: float
    ring_ncf_ndcg: float
    ring_wide_mf_ndcg: float

    def holds(self) -> bool:
        return (
            self.product_mf >= 2 * self.product_popularity
            and self.ring_mf >= 2 * self.ring_popularity
            and self.product_mf >= 1.1 * self.product_ncf
            and self.product_mf_ndcg >= 1.1 * self.product_ncf_ndcg
            and self.ring_ncf >= 1.1 * self.ring_mf
            and self.ring_ncf_ndcg >= 1.1 * self.ring_mf_ndcg
            and self.product_wide_mf >= 0.9 * self.product_ncf
            and self.ring_wide_mf >= 0.9 * self.ring_ncf
        )


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    seed_everything(settings.seed)
    found = {}
    for name, world in {"product": product(settings.seed), "ring": ring(settings.seed)}.items():
        models = {"mf": Factors(WIDTH), "ncf": Network(WIDTH), "wide_mf": Factors(WIDE)}
        scores = {"popularity": world.popularity()}
        for way, model in models.items():
            train(model, world, settings, hooks, name=f"{name}_{way}")
            scores[way] = everyone(model, settings)
        for way, score in scores.items():
            found[f"{name}_{way}"], found[f"{name}_{way}_ndcg"] = judge(score, world)
    return Result(**found)


class Factors(nn.Module):
    """Matrix factorisation: the dot product of two vectors, and a number for the film's fame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.people, self.films, self.fame = _table(PEOPLE, width), _table(FILMS, width), _table(FILMS, 1)

    def forward(self, people: Tensor, films: Tensor) -> Tensor:
        """Two lists of row numbers, (rows,) each, to logits (rows,)."""
        return (self.people(people) * self.films(films)).sum(dim=1) + self.fame(films).squeeze(1)


class Network(nn.Module):
    """Neural collaborative filtering: what two vectors mean to each other is learnt (He et al. 2017, their MLP)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.people, self.films = _table(PEOPLE, width), _table(FILMS, width)
        self.judge = nn.Sequential(nn.Linear(2 * width, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, people: Tensor, films: Tensor) -> Tensor:
        """As `Factors.forward`."""
        pairs = torch.cat([self.people(people), self.films(films)], dim=1)  # (rows, 2·width)
        return self.judge(pairs).squeeze(1)


def _table(rows: int, width: int) -> nn.Embedding:
    table = nn.Embedding(rows, width)
    nn.init.normal_(table.weight, std=0.1)  # products of N(0, 1) vectors would start as strong opinions
    return table


def train(
    model: nn.Module, world: World, settings: Settings, hooks: Sequence[Hook] = (), *, name: str = "recommender"
) -> list[float]:
    epochs = settings.epochs or 20
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.2)
    return fit(
        model,
        WithNegatives(world, size=1024, seed=settings.seed),
        F.binary_cross_entropy_with_logits,
        optimizer,
        epochs=epochs,
        settings=settings,
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=epochs + 1),
        hooks=hooks,
        name=name,
    )


def everyone(model: nn.Module, settings: Settings) -> Tensor:
    """The model's score of every film for every person: (PEOPLE, FILMS)."""
    people = torch.arange(PEOPLE).repeat_interleave(FILMS)
    films = torch.arange(FILMS).repeat(PEOPLE)
    return predict(model, people, films, settings=settings).view(PEOPLE, FILMS)


def judge(scores: Tensor, world: World, first: int = 10) -> tuple[float, float]:
    """HR and NDCG at `first`: among *all* films a person has not seen, not among a sample of them (Krichene & Rendle
    2020: samples can turn the order of two methods round). One film counts, so NDCG is 1 / log₂(1 + its place)."""
    scores = scores.scatter(1, world.seen, -math.inf)
    own = scores.gather(1, world.last[:, None])
    # Films of equal score share their middle place: else who likes all alike would come first.
    place = 1 + (scores > own).sum(dim=1) + ((scores == own).sum(dim=1) - 1) / 2  # (people,)
    hit = (place <= first).double()
    return hit.mean().item(), (hit / (1 + place).log2()).mean().item()
