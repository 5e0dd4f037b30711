"""What guests write, in English and Chinese: pairs of remarks without labels, and a few remarks with them."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from workstation.examples.reviews import BLAME, EMPHASES, PRAISE, THINGS, UNSEEN_THINGS

SOURCE = "remarks of guests in English and Chinese, made from the seed"
GUESTS, LABELLED, TEST = 3000, 200, 400


def guests(seed: int) -> tuple[list[str], list[str]]:
    """Two remarks of each guest, each in either language: who is pleased is pleased twice. No label is kept."""
    chance = random.Random(f"guests {seed}")
    firsts: list[str] = []
    seconds: list[str] = []
    for _ in range(GUESTS):
        pleased = chance.random() < 0.5
        for remarks in (firsts, seconds):
            remarks.append(_remark(chance, pleased, chance.randrange(2), (*THINGS, *UNSEEN_THINGS)))
    return firsts, seconds


def labelled(seed: int) -> tuple[list[str], Tensor]:
    """English remarks, and whether each praises (1): LABELLED texts and (LABELLED,)."""
    return _remarks(LABELLED, random.Random(f"labelled {seed}"), language=0, things=THINGS)


def unseen(seed: int, language: int) -> tuple[list[str], Tensor]:
    """Remarks in English (0) or Chinese (1), about things that no labelled one speaks of."""
    return _remarks(TEST, random.Random(f"unseen {seed}"), language, UNSEEN_THINGS)


def _remarks(
    rows: int, chance: random.Random, language: int, things: Sequence[tuple[str, str]]
) -> tuple[list[str], Tensor]:
    verdicts = [row % 2 for row in range(rows)]
    return [_remark(chance, bool(pleased), language, things) for pleased in verdicts], torch.tensor(verdicts)


def _remark(chance: random.Random, pleased: bool, language: int, things: Sequence[tuple[str, str]]) -> str:
    thing, emphasis, word = (chance.choice(each)[language] for each in (things, EMPHASES, PRAISE if pleased else BLAME))
    return f"{thing}{emphasis}{word}" if language else f"the {thing} was {emphasis} {word}"
