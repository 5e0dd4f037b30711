"""Card payments, a few of which are frauds of two kinds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

HONEST, QUIET, LOUD = 0, 1, 2
SHARE = 0.01  # of frauds


def payments(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Twelve numbers a payment, six of the card's owner and six of the payment, and its kind: (rows, 12) and (rows,).

    A person has two habits, uniform in [−1, 1]². Number k is sin(4·(habits along direction k) + k), plus noise
    N(0, 0.1²). In a quiet fraud the six of the payment come from another person; in a loud one three of them are
    replaced by ±2 to ±4. Each is half of the frauds.
    """
    generator = torch.Generator().manual_seed(seed)
    place = torch.arange(12)
    angle = math.pi * (place % 6 + 0.5 * (place // 6)) / 6  # the payment's directions lie between the owner's
    directions = 4 * torch.stack([angle.cos(), angle.sin()])  # (2, 12)

    def people(count: int) -> Tensor:
        habits = 2 * torch.rand(count, 2, generator=generator) - 1
        return (habits @ directions + place).sin()

    numbers, half = people(rows), round(SHARE * rows / 2)
    quiet, loud = slice(0, half), slice(half, 2 * half)
    numbers[quiet, 6:] = people(half)[:, 6:]
    numbers += 0.1 * torch.randn(rows, 12, generator=generator)
    three = 6 + torch.rand(half, 6, generator=generator).argsort(dim=1)[:, :3]
    sign = 2 * torch.randint(2, (half, 3), generator=generator) - 1
    numbers[loud] = numbers[loud].scatter(1, three, sign * (2 + 2 * torch.rand(half, 3, generator=generator)))

    kinds = torch.full((rows,), HONEST)
    kinds[quiet], kinds[loud] = QUIET, LOUD
    order = torch.randperm(rows, generator=generator)
    return numbers[order], kinds[order]
