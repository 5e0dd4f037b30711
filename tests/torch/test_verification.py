"""Are they the same? A distance that is learnt holds for characters that came later."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from workstation.examples import verification
from workstation.examples.glyphs import CHARACTERS, printed
from workstation.examples.pairs import best_threshold, distances, pairs
from workstation.examples.verification import contrastive_loss, split_by_letter
from workstation.training.scores import roc_auc
from workstation.training.settings import Settings


@pytest.mark.slow
def test_it_tells_strangers_apart_better_than_pixels_do(settings: Settings) -> None:
    result = verification.run(settings)
    assert result.holds(), result
    assert result.handwritten_auc > result.handwritten_pixel_auc


def test_the_same_seed_gives_the_same_bits() -> None:
    assert verification.run(Settings(seed=1, epochs=1)) == verification.run(Settings(seed=1, epochs=1))


def test_a_run_cut_short_breaks_the_promise() -> None:
    assert not verification.run(Settings(epochs=1)).holds()


def test_a_network_that_was_taught_wrong_names_breaks_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    right = verification.train

    def mistaught(images, identities, *rest):
        return right(images, identities[torch.randperm(len(identities))], *rest)

    monkeypatch.setattr(verification, "train", mistaught)
    assert not verification.run(Settings()).holds()


def test_no_letter_is_both_known_and_a_stranger_in_either_case(seed: int) -> None:
    _, characters = printed()
    parts = split_by_letter(characters, seed)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(characters)))
    letters = [{CHARACTERS[number].lower() for number in characters[part].tolist()} for part in parts]
    assert [len(some) for some in letters] == [21, 5, 10]
    assert len(set.union(*letters)) == 36


def test_pairs_are_half_of_one_identity_and_never_a_picture_with_itself() -> None:
    _, characters = printed()
    rows = split_by_letter(characters, seed=0)[2]
    drawn = pairs(characters, rows, seed=0)
    assert len(drawn.same) == 2000
    assert drawn.same.sum() == 1000
    assert torch.equal(drawn.same, characters[drawn.left] == characters[drawn.right])
    assert (drawn.left != drawn.right).all()
    assert torch.isin(torch.cat([drawn.left, drawn.right]), rows).all()
    assert len(set(zip(drawn.left.tolist(), drawn.right.tolist(), strict=True))) == 2000


def test_the_same_point_for_all_is_chance() -> None:
    _, characters = printed()
    drawn = pairs(characters, torch.arange(len(characters)), seed=0)
    nowhere = torch.ones(len(characters), 32)
    assert roc_auc(-distances(nowhere, drawn), drawn.same) == 0.5


def test_the_loss_falls_as_identities_gather_and_part() -> None:
    identities = torch.tensor([0, 0, 1, 1, 2, 2])
    gathered = F.one_hot(identities, 8).float()
    mixed = F.one_hot(torch.tensor([0, 1, 2, 0, 1, 2]), 8).float()
    one_point = torch.ones(6, 8)
    losses = [float(contrastive_loss(points, identities)) for points in (gathered, one_point, mixed)]
    assert losses == sorted(losses)
    assert losses[0] == pytest.approx(0, abs=1e-3)
    assert losses[1] == pytest.approx(torch.tensor(5.0).log().item())  # one of five others, by chance


def test_a_picture_without_company_in_its_batch_is_left_out() -> None:
    torch.manual_seed(0)
    points = torch.randn(5, 8, requires_grad=True)
    contrastive_loss(points, torch.arange(5)).backward()  # nobody has company
    assert torch.equal(points.grad, torch.zeros(5, 8))


def test_the_threshold_is_the_one_with_the_fewest_errors() -> None:
    torch.manual_seed(0)
    for _ in range(20):
        lengths, same = torch.rand(30), torch.rand(30) < 0.5
        chosen = best_threshold(lengths, same)
        right = {float(at): int(((lengths <= at) == same).sum()) for at in lengths}
        assert right[chosen] == max(right.values())
