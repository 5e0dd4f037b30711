"""Object detection: which digits are in the scene, and where? (A1 §6.1; A2 §6.1)

The article names YOLO and Faster R-CNN and shows neither. This detector has no anchors and no proposals: each object is
the point at its middle (Zhou et al. 2019, "Objects as Points"). One map a class says where middles are; at a middle,
four more numbers give the box. mAP is left to torchmetrics, which computes COCO's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.examples.datasets import DIGITS, digits, split
from workstation.examples.detection_scores import Found, average_size, mean_average_precision, resized
from workstation.examples.scenes import SIDE, Scenes, paint
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit, predict
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

TRAIN, TEST = 2400, 200  # scenes
CLASSES, STRIDE = 10, 4
CELLS = SIDE // STRIDE

DATA = f"scenes of 1 to 4 digits, made from the seed out of {DIGITS}, in place of COCO"
PROMISE = "mAP at least 0.6, and 0.88 at IoU 0.5, on scenes of unseen digits; with boxes of one size for all, 0.2 less"


@dataclass(frozen=True)
class Result:
    """On 200 scenes made of digits that occur in no training scene."""

    map: float  # mean over the ten digits and over IoU 0.50, 0.55, … 0.95, as COCO counts
    map_50: float  # a box counts as found from an IoU of 0.5
    map_75: float
    one_size_map: float  # the same places and names, but every box of the average size

    def holds(self) -> bool:
        return self.map >= 0.6 and self.map_50 >= 0.88 and self.map >= self.one_size_map + 0.2


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    known, unseen = scenes(settings.seed)
    found = detect(train(known, settings, hooks), unseen.images, settings)
    measured = mean_average_precision(found, unseen)
    one_size = mean_average_precision([resized(each, average_size(known)) for each in found], unseen)
    return Result(measured["map"], measured["map_50"], measured["map_75"], one_size["map"])


def scenes(seed: int) -> tuple[Scenes, Scenes]:
    """To train on and to test on. No digit occurs in both."""
    pictures, classes = digits()
    rows, unseen = split(classes, 0.2, seed)
    return (
        paint(TRAIN, pictures[rows], classes[rows], seed=2 * seed),
        paint(TEST, pictures[unseen], classes[unseen], seed=2 * seed + 1),
    )


def detector() -> nn.Sequential:
    """Scenes (rows, 1, SIDE, SIDE) to maps (rows, 10 + 4, CELLS, CELLS): each digit's logits, then the box."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    head = nn.Conv2d(64, CLASSES + 4, 1)
    # Middles are rare: start by saying so (Lin et al. 2017).
    nn.init.constant_(head.get_parameter("bias")[:CLASSES], -3.0)
    return nn.Sequential(
        *block(1, 12), nn.MaxPool2d(2),
        *block(12, 32), nn.MaxPool2d(2),
        *block(32, 64), *block(64, 64), head,
    )  # fmt: skip


def target_maps(scenes: Scenes) -> Tensor:
    """(scenes, 10 + 4 + 1, CELLS, CELLS): each digit's map, 1 at a middle and falling off around it; the box at each
    middle (where in its cell the middle is, then log width and log height in cells); and 1 where a middle is."""
    maps = torch.zeros(len(scenes.images), CLASSES + 5, CELLS, CELLS)
    cells = torch.arange(CELLS)
    for drawn, boxes, labels in zip(maps, scenes.boxes, scenes.labels, strict=True):
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2 / STRIDE
        sizes = (boxes[:, 2:] - boxes[:, :2]) / STRIDE
        for (across, down), middle, size, label in zip(
            middles.long().tolist(), middles, sizes, labels.tolist(), strict=True
        ):
            away = (cells[None, :] - across) ** 2 + (cells[:, None] - down) ** 2
            drawn[label] = torch.maximum(drawn[label], torch.exp(-away / (2 * 0.7**2)))
            drawn[CLASSES:, down, across] = torch.cat([middle % 1, size.log(), torch.ones(1)])
    return maps


def detection_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Focal loss for the middles, and the boxes' absolute errors at the middles alone (Zhou et al. 2019, eq. 1-3)."""
    heat, wanted, is_middle = maps[:, :CLASSES].float(), target[:, :CLASSES], target[:, -1:]
    chance, middle = heat.sigmoid(), wanted == 1
    hit = (1 - chance) ** 2 * F.logsigmoid(heat)
    miss = (1 - wanted) ** 4 * chance**2 * F.logsigmoid(-heat)  # near a middle a high value is no great error
    middles = is_middle.sum().clamp(min=1)
    boxes = (maps[:, CLASSES:].float() - target[:, CLASSES:-1]).abs() * is_middle
    return -torch.where(middle, hit, miss).sum() / middles + boxes.sum() / middles


def train(known: Scenes, settings: Settings, hooks: Sequence[Hook] = ()) -> nn.Sequential:
    seed_everything(settings.seed)
    model = detector()
    epochs = settings.epochs or 8
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    fit(
        model,
        Batches((known.images, target_maps(known)), size=32, seed=settings.seed),
        detection_loss,
        optimizer,
        epochs=epochs,
        settings=settings,
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=epochs + 1),
        weight=lambda target: int(target[:, -1].sum()),  # middles: what the loss is a mean over
        hooks=hooks,
        name="detection",
    )
    return model


def detect(model: nn.Module, images: Tensor, settings: Settings, most: int = 10) -> list[Found]:
    """The `most` best middles of each scene with their boxes, best first. A middle is larger than all around it."""
    maps = predict(model, images, settings=settings)
    heat = maps[:, :CLASSES].sigmoid()
    peaks = heat * (heat == F.max_pool2d(heat, 3, stride=1, padding=1))
    scores, places = peaks.flatten(1).topk(most)  # places count through (class, row, column)
    labels, cells = places // CELLS**2, places % CELLS**2
    at = maps[:, CLASSES:].flatten(2).gather(2, cells[:, None].expand(-1, 4, -1)).transpose(1, 2)  # (scenes, most, 4)
    middles = STRIDE * (torch.stack([cells % CELLS, cells // CELLS], dim=2) + at[..., :2])
    halves = STRIDE * at[..., 2:].exp() / 2
    boxes = torch.cat([middles - halves, middles + halves], dim=2)
    return [
        {"boxes": box, "scores": score, "labels": label}
        for box, score, label in zip(boxes, scores, labels, strict=True)
    ]
