"""Recommendation: which of two models is right depends on the world, and popularity is right about neither."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from workstation.examples import recommendation
from workstation.examples.ratings import FILMS, PEOPLE, WATCHED, WithNegatives, World, product, ring
from workstation.examples.recommendation import judge
from workstation.training.settings import Settings

each_world = pytest.mark.parametrize("world", [product, ring])


@pytest.mark.slow
def test_each_model_wins_where_taste_is_of_its_kind(settings: Settings) -> None:
    result = recommendation.run(settings)
    assert result.holds(), result


def test_the_same_seed_gives_the_same_bits() -> None:
    assert recommendation.run(Settings(seed=1, epochs=1)) == recommendation.run(Settings(seed=1, epochs=1))


def test_a_run_cut_short_breaks_the_promise() -> None:
    assert not recommendation.run(Settings(epochs=1)).holds()


@each_world
def test_nobody_watched_a_film_twice_and_the_last_one_is_unseen(world: Callable[[int], World]) -> None:
    made = world(0)
    watched = torch.cat([made.seen, made.last[:, None]], dim=1)
    assert all(len(set(row)) == WATCHED + 1 for row in watched.tolist())


@each_world
def test_who_knows_the_taste_beats_popularity_threefold(world: Callable[[int], World]) -> None:
    made = world(0)
    assert judge(made.taste, made)[0] > 3 * judge(made.popularity(), made)[0]


def test_a_product_has_six_factors_and_a_ring_many_more() -> None:
    def factors(world: World) -> int:
        """How many it takes to hold 99 % of the taste, less what is the film's alone."""
        energy = torch.linalg.svdvals(world.taste - world.taste.mean(dim=0)).square()
        return 1 + int((energy.cumsum(0) < 0.99 * energy.sum()).sum())

    assert factors(product(0)) == 6
    assert factors(ring(0)) > 20


def test_a_left_out_film_in_third_place_scores_a_half() -> None:
    world = product(0)
    others = torch.tensor([[film for film in range(FILMS) if film not in {*seen, last}][:2]
                           for seen, last in zip(world.seen.tolist(), world.last.tolist(), strict=True)])  # fmt: skip
    scores = torch.zeros(PEOPLE, FILMS).scatter(1, others, 2.0).scatter(1, world.last[:, None], 1.0)
    assert judge(scores, world) == (1.0, 0.5)
    assert judge(scores, world, first=2) == (0.0, 0.0)


def test_films_already_seen_take_no_place() -> None:
    world = product(0)
    scores = torch.zeros(PEOPLE, FILMS).scatter(1, world.seen, 2.0).scatter(1, world.last[:, None], 1.0)
    assert judge(scores, world) == (1.0, 1.0)


def test_who_likes_everything_alike_hits_nothing() -> None:
    assert judge(torch.zeros(PEOPLE, FILMS), product(0)) == (0.0, 0.0)


def test_negatives_are_unseen_new_each_epoch_and_the_same_for_a_seed() -> None:
    def epoch(number: int) -> list[tuple[int, int, float]]:
        batches = WithNegatives(world, size=1024, seed=3)
        batches.set_epoch(number)
        people, films, watched = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return sorted(zip(people.tolist(), films.tolist(), watched.tolist(), strict=True))

    world = product(0)
    pairs = {(person, film) for person, row in enumerate(world.seen.tolist()) for film in row}
    first, second = epoch(0), epoch(1)
    assert first == epoch(0)
    assert first != second
    for rows in (first, second):
        assert {(person, film) for person, film, watched in rows if watched} == pairs
        assert pairs.isdisjoint({(person, film) for person, film, watched in rows if not watched})
        assert len(rows) == PEOPLE * WATCHED * 4


def test_each_part_of_the_promise_can_be_broken() -> None:
    product = {"popularity": 0.1, "mf": 0.4, "ncf": 0.2, "wide_mf": 0.5}
    ring = {"popularity": 0.1, "mf": 0.4, "ncf": 0.6, "wide_mf": 0.6}
    numbers = {
        f"{world}_{way}{score}": value
        for world, ways in {"product": product, "ring": ring}.items()
        for way, value in ways.items()
        for score in ("", "_ndcg")
    }
    assert recommendation.Result(**numbers).holds()
    broken = {"product_mf": 0.19, "product_ncf": 0.38, "ring_mf": 0.56, "ring_wide_mf": 0.5, "product_mf_ndcg": 0.2}
    for field, value in broken.items():
        assert not recommendation.Result(**{**numbers, field: value}).holds(), field
