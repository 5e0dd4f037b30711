"""Which digits, and where: boxes that are exact, a detector that learns them, a measure that errors lower."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from workstation.examples import detection
from workstation.examples.datasets import digits
from workstation.examples.detection import (
    CELLS,
    CLASSES,
    detect,
    detection_loss,
    target_maps,
)
from workstation.examples.detection_scores import Found, average_size, mean_average_precision, resized
from workstation.examples.scenes import HEIGHTS, SIDE, Scenes, paint
from workstation.training.settings import Settings


@pytest.mark.slow
def test_it_finds_digits_of_every_size(settings: Settings) -> None:
    result = detection.run(settings)
    assert result.holds(), result


@pytest.mark.slow
def test_a_run_cut_short_breaks_the_promise() -> None:
    assert not detection.run(Settings(epochs=1)).holds()


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return paint(60, *digits(), seed=0)


def test_the_same_seed_gives_the_same_bits(scenes: Scenes) -> None:
    once, again = (detection.train(scenes, Settings(seed=1, epochs=1)) for _ in range(2))
    assert torch.equal(once(scenes.images), again(scenes.images))


# ----------------------------------------------------------------------------------------------------------- the scenes


def test_a_box_ends_where_the_ink_ends() -> None:
    # A block of ink of 4 by 2 with a margin around it: the box must leave the margin out.
    block = torch.zeros(1, 1, 8, 8)
    block[..., 2:6, 3:5] = 1
    painted = paint(40, block, torch.tensor([1]), seed=0)
    for image, boxes in zip(painted.images, painted.boxes, strict=True):
        inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        for left, top, right, bottom in boxes.int().tolist():
            assert bottom - top in HEIGHTS
            assert right - left == round((bottom - top) / 2)
            inside[top:bottom, left:right] = True
            for edge in (image[0, top], image[0, bottom - 1]):
                assert edge[left:right].mean() > 0.35
            for edge in (image[0, :, left], image[0, :, right - 1]):
                assert edge[top:bottom].mean() > 0.35
        assert image[0][~inside].mean() < 0.06  # of the noise, the half that is not clamped away
        assert image[0][~inside].max() < 0.5


def test_every_scene_has_objects_and_all_lie_in_it(scenes: Scenes) -> None:
    for boxes, labels in zip(scenes.boxes, scenes.labels, strict=True):
        assert len(boxes) == len(labels) >= 1
        assert boxes.min() >= 0
        assert boxes.max() <= SIDE
    assert max(len(boxes) for boxes in scenes.boxes) >= 3
    assert torch.cat(scenes.labels).unique().tolist() == list(range(10))


def test_scenes_come_from_the_seed() -> None:
    once, again, other = (paint(3, *digits(), seed=seed).images for seed in (5, 5, 6))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_no_digit_occurs_in_both_training_and_test_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(detection, "paint", lambda _count, pictures, _classes, seed: used.append((pictures, seed)))
    detection.scenes(seed=0)
    (known, one), (unseen, other) = used
    assert one != other
    assert (len(known), len(unseen)) == (1437, 360)
    assert {tuple(p.flatten().tolist()) for p in known}.isdisjoint(tuple(p.flatten().tolist()) for p in unseen)


# ------------------------------------------------------------------------------------------ from boxes to maps and back


def truth_as_maps(scenes: Scenes) -> Tensor:
    """What a perfect detector would answer."""
    maps = target_maps(scenes)[:, :-1]
    maps[:, :CLASSES] = maps[:, :CLASSES].clamp(0.001, 0.999).logit()
    return maps


def test_maps_read_back_give_the_boxes(scenes: Scenes) -> None:
    found = detect(nn.Identity(), truth_as_maps(scenes), Settings())
    assert mean_average_precision(found, scenes)["map"] > 0.99


def test_the_loss_is_least_at_the_truth(scenes: Scenes) -> None:
    wanted, truth = target_maps(scenes), truth_as_maps(scenes)
    wrong = {"elsewhere": truth.roll(2, dims=3), "other digits": truth.clone(), "larger": truth.clone()}
    wrong["other digits"][:, :CLASSES] = truth[:, :CLASSES].roll(1, dims=1)
    wrong["larger"][:, CLASSES + 2 :] += 0.3
    least = detection_loss(truth, wanted)
    assert all(detection_loss(maps, wanted) > least + 0.5 for maps in wrong.values())


def test_a_box_where_nothing_is_costs_nothing(scenes: Scenes) -> None:
    wanted, truth = target_maps(scenes), truth_as_maps(scenes)
    nowhere = wanted[:, -1:] == 0
    changed = truth.clone()
    changed[:, CLASSES:] += 7.0 * nowhere
    torch.testing.assert_close(detection_loss(changed, wanted), detection_loss(truth, wanted))


def test_an_empty_map_has_a_finite_loss() -> None:
    nothing = torch.zeros(2, CLASSES + 5, CELLS, CELLS)
    maps = torch.zeros(2, CLASSES + 4, CELLS, CELLS, requires_grad=True)
    detection_loss(maps, nothing).backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


# ---------------------------------------------------------------------------------------------------------- the measure


def as_found(scenes: Scenes) -> list[Found]:
    return [
        {"boxes": boxes, "scores": torch.ones(len(boxes)), "labels": labels}
        for boxes, labels in zip(scenes.boxes, scenes.labels, strict=True)
    ]


def test_the_truth_scores_1_and_errors_cost(scenes: Scenes) -> None:
    truth = as_found(scenes)
    assert mean_average_precision(truth, scenes)["map"] == pytest.approx(1)
    moved = [each | {"boxes": each["boxes"] + 2} for each in truth]
    assert mean_average_precision(moved, scenes)["map"] < 0.5
    misnamed = [each | {"labels": (each["labels"] + 1) % 10} for each in truth]
    assert mean_average_precision(misnamed, scenes)["map"] < 0.1
    one_size = [resized(each, average_size(scenes)) for each in truth]
    assert mean_average_precision(one_size, scenes)["map"] < 0.8


def test_average_precision_is_the_area_that_one_counts_by_hand() -> None:
    # Two squares; a wrong box is surer than the only right one. Precision is 1/2 up to recall 1/2, then 0: of COCO's
    # 101 recalls 0, 0.01, … 1 the first 51 have 1/2.
    squares = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    truth = Scenes(torch.zeros(1, 1, SIDE, SIDE), [squares], [torch.tensor([3, 3])])
    boxes = torch.stack([torch.tensor([10.0, 0, 20, 10]), squares[0]])
    found = [{"boxes": boxes, "scores": torch.tensor([0.9, 0.8]), "labels": torch.tensor([3, 3])}]
    assert mean_average_precision(found, truth)["map_50"] == pytest.approx(51 / 101 / 2, abs=1e-6)


def test_boxes_of_one_size_alone_would_break_the_promise() -> None:
    result = detection.Result(map=0.7, map_50=0.93, map_75=0.85, one_size_map=0.36)
    assert result.holds()
    assert not dataclasses.replace(result, map=result.one_size_map).holds()
