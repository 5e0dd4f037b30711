"""A small network that learns from a large one (Hinton, Vinyals, Dean: arXiv:1503.02531)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Pair(nn.Module):
    """Student and teacher look at the same picture. Only the student learns."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher.requires_grad_(False)

    def train(self, mode: bool = True) -> Pair:
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """(2, n, 10): the student's logits, then the teacher's."""
        with torch.no_grad():
            example = self.teacher(images)
        return torch.stack([self.student(images), example])


def distillation(pair: Tensor, classes: Tensor, temperature: float = 4.0) -> Tensor:
    """Half the usual loss, half the divergence from the teacher's softened chances.

    T² keeps the second half's gradients as large as at T = 1.
    """
    ours, example = (logits / temperature for logits in pair)
    divergence = F.kl_div(ours.log_softmax(1), example.log_softmax(1), log_target=True, reduction="batchmean")
    return 0.5 * F.cross_entropy(pair[0], classes) + 0.5 * temperature**2 * divergence
