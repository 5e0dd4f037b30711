"""Two worlds of people and films whose tastes are known, because they are made here; and batches with negatives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from workstation.training.batches import Batches

PEOPLE, FILMS, WATCHED = 600, 300, 20


@dataclass(frozen=True)
class World:
    """What each person likes, and what they watched. Only the second is shown to a model."""

    films: Tensor  # (FILMS, …) what each is: six traits, or its angle
    taste: Tensor  # (PEOPLE, FILMS) log-odds of watching, fame included
    seen: Tensor  # (PEOPLE, WATCHED) films, to train on
    last: Tensor  # (PEOPLE,) one film more, left out for the test

    def popularity(self) -> Tensor:
        """How many people saw each film, the same for everyone: (PEOPLE, FILMS)."""
        return torch.bincount(self.seen.flatten(), minlength=FILMS).float().expand(PEOPLE, FILMS)


def product(seed: int) -> World:
    """Six traits of a film, six weights of a person, all N(0, 1): taste is u·v. Matrix factorisation's case."""
    generator = torch.Generator().manual_seed(seed)
    weights, traits = (torch.randn(rows, 6, generator=generator) for rows in (PEOPLE, FILMS))
    return _watch(traits, weights @ traits.T, generator)


def ring(seed: int) -> World:
    """Each film and each person has one angle; taste is 6·exp(60·(cos(difference) − 1)), a bump with σ ≈ 7°.

    As a sum of products it needs two numbers for each of more than ten frequencies. Who knows the rule needs the angle.
    """
    generator = torch.Generator().manual_seed(seed)
    person, film = (2 * math.pi * torch.rand(rows, generator=generator) for rows in (PEOPLE, FILMS))
    return _watch(film, 6 * (60 * ((person[:, None] - film).cos() - 1)).exp(), generator)


def _watch(films: Tensor, taste: Tensor, generator: torch.Generator) -> World:
    """Fame N(0, 0.5²) is added; then films are drawn without repetition, each with odds exp(taste), in random order."""
    taste = taste + 0.5 * torch.randn(FILMS, generator=generator)
    # The largest of taste + Gumbel noise are such a draw (Vieira 2014).
    gumbel = -(-torch.rand(PEOPLE, FILMS, generator=generator).log()).log()
    watched = (taste + gumbel).topk(WATCHED + 1, dim=1).indices
    watched = watched.gather(1, torch.rand(watched.shape, generator=generator).argsort(dim=1))
    return World(films, taste, watched[:, :-1], watched[:, -1])


@dataclass
class WithNegatives:
    """Batches of (person, film, watched or not). Each epoch draws new films not watched, `negatives` for each watched.

    The left-out film is among those: nobody who trains can know that it will be watched.
    """

    world: World
    size: int
    seed: int
    negatives: int = 3
    _epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self._epoch)
        seen = self.world.seen
        unseen = torch.ones(PEOPLE, FILMS).scatter_(1, seen, 0)
        others = torch.multinomial(unseen, self.negatives * WATCHED, replacement=True, generator=generator)
        films = torch.cat([seen, others], dim=1)
        people = torch.arange(PEOPLE)[:, None].expand_as(films)
        watched = torch.cat([torch.ones(seen.shape), torch.zeros(others.shape)], dim=1)
        batches = Batches((people.flatten(), films.flatten(), watched.flatten()), self.size, self.seed)
        batches.set_epoch(self._epoch)
        return iter(batches)
