"""Generated scenes: digits of many sizes pasted on a dim, noisy canvas. Who pastes them knows every box exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

SIDE = 32  # of the canvas, in pixels
MOST = 4  # digits in a scene; at least one
HEIGHTS = range(9, 17)  # of a digit, in pixels
OVERLAP = 0.05  # IoU that two boxes may have
INK = 0.2  # a pixel darker than this belongs to the digit, so its box is what a person would draw


@dataclass(frozen=True)
class Scenes:
    images: Tensor  # (scenes, 1, SIDE, SIDE)
    boxes: list[Tensor]  # for each scene (digits, 4): left, top, right, bottom in pixels
    labels: list[Tensor]  # for each scene (digits,)


def paint(count: int, pictures: Tensor, classes: Tensor, seed: int) -> Scenes:
    """`count` scenes of digits drawn from `pictures`, (rows, 1, 8, 8), whose `classes` are known."""
    chance = torch.Generator().manual_seed(seed)
    painted = [_scene(pictures, classes, chance) for _ in range(count)]
    images, boxes, labels = zip(*painted, strict=True)
    return Scenes(torch.stack(images), list(boxes), list(labels))


def _scene(pictures: Tensor, classes: Tensor, chance: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    ink = torch.zeros(1, SIDE, SIDE)
    boxes, labels = torch.zeros(0, 4), []
    for _ in range(_between(1, MOST + 1, chance)):
        row = _between(0, len(pictures), chance)
        digit = _resized(pictures[row], _between(HEIGHTS.start, HEIGHTS.stop, chance))
        height, width = digit.shape[1:]
        left, top = _between(0, SIDE - width + 1, chance), _between(0, SIDE - height + 1, chance)
        box = torch.tensor([[left, top, left + width, top + height]], dtype=torch.float32)
        if len(boxes) and float(box_iou(boxes, box).max()) > OVERLAP:
            continue  # no room: one digit fewer
        place = ink[:, top : top + height, left : left + width]
        contrast = 0.5 + 0.5 * torch.rand((), generator=chance)
        place.copy_(torch.maximum(place, contrast * digit))
        boxes = torch.cat([boxes, box])
        labels.append(int(classes[row]))
    noise = 0.1 * torch.randn(ink.shape, generator=chance)
    return (ink + noise).clamp(0, 1), boxes, torch.tensor(labels)


def _resized(picture: Tensor, height: int) -> Tensor:
    """The digit without its margin, (1, 8, 8) to (1, height, width), in its own proportion."""
    inked = picture[0] > INK
    rows, columns = inked.any(dim=1).nonzero(), inked.any(dim=0).nonzero()
    tight = picture[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    width = max(1, round(height * tight.shape[2] / tight.shape[1]))
    return F.interpolate(tight[None], size=(height, min(width, SIDE)), mode="bilinear")[0]


def _between(low: int, high: int, chance: torch.Generator) -> int:
    return int(torch.randint(low, high, (), generator=chance))
