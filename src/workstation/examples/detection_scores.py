"""How good are found boxes? mAP as COCO counts it, and what is left of it where all boxes have one size."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from workstation.examples.scenes import Scenes

Found = dict[str, Tensor]  # torchmetrics' form: boxes (found, 4), scores (found,), labels (found,)


def mean_average_precision(found: list[Found], truth: Scenes) -> dict[str, float]:
    """COCO's mAP by torchmetrics: `map`, `map_50`, `map_75`, each the mean over the digits."""
    metric = MeanAveragePrecision()
    metric.update(found, [{"boxes": b, "labels": n} for b, n in zip(truth.boxes, truth.labels, strict=True)])
    measured = metric.compute()
    return {name: float(measured[name]) for name in ("map", "map_50", "map_75")}


def average_size(known: Scenes) -> Tensor:
    """Width and height, (2,)."""
    boxes = torch.cat(known.boxes)
    return (boxes[:, 2:] - boxes[:, :2]).mean(dim=0)


def resized(found: Found, size: Tensor) -> Found:
    """The same middles, names and scores, with boxes of one size."""
    middles = (found["boxes"][:, :2] + found["boxes"][:, 2:]) / 2
    return found | {"boxes": torch.cat([middles - size / 2, middles + size / 2], dim=1)}
