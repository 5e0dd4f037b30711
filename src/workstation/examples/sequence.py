"""Sequences: is a row of brackets balanced? RNN and LSTM (A2 §4.4).

The article names RNN and LSTM and shows neither. Every string here has as many opening as closing brackets, so whoever
only counts can do no better than chance: the order decides. And it shows what the LSTM was made for, a gradient
that still reaches the first symbol when the last one is far away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit, predict
from workstation.training.scores import accuracy
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

LENGTH, TRAIN, TEST = 20, 2048, 600

DATA = "strings of 20 brackets, half of them balanced, made from the seed; no string twice"
PROMISE = (
    "an LSTM judges 98 % of unseen strings, counting alone at most 60 %; its gradient over 40 steps outlives an RNN's"
)


@dataclass(frozen=True)
class Result:
    lstm: float  # accuracy on unseen strings of the trained length
    rnn: float
    counting: float  # a linear model on how many of each bracket there are
    lstm_twice_as_long: float  # the LSTM on strings of 40: an honest limit
    gradient_ratio: float  # LSTM over RNN: size of d(last state) / d(first input), 40 steps apart, untrained

    def holds(self) -> bool:
        return self.lstm >= 0.98 and self.counting <= 0.60 and self.gradient_ratio > 10


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    strings, balanced = brackets(TRAIN + TEST, LENGTH, settings.seed)
    long_strings, long_balanced = brackets(TEST, 2 * LENGTH, settings.seed)
    seed_everything(settings.seed)
    lstm, rnn, counting = Reader(nn.LSTM), Reader(nn.RNN), nn.Linear(2, 2)
    for name, model, inputs in [
        ("lstm", lstm, strings),
        ("rnn", rnn, strings),
        ("counting", counting, counts(strings)),
    ]:
        train(model, inputs[:TRAIN], balanced[:TRAIN], settings, hooks, name=name)

    def score(model: nn.Module, inputs: Tensor, truth: Tensor) -> float:
        return accuracy(predict(model, inputs, settings=settings), truth)

    reach = {cell: gradient_reach(Reader(cell), steps=40) for cell in (nn.LSTM, nn.RNN)}
    return Result(
        lstm=score(lstm, strings[TRAIN:], balanced[TRAIN:]),
        rnn=score(rnn, strings[TRAIN:], balanced[TRAIN:]),
        counting=score(counting, counts(strings[TRAIN:]), balanced[TRAIN:]),
        lstm_twice_as_long=score(lstm, long_strings, long_balanced),
        gradient_ratio=float(reach[nn.LSTM][0] / reach[nn.RNN][0]),
    )


class Reader(nn.Module):
    """Reads a string symbol by symbol, and judges by the state it ends in."""

    def __init__(self, cell: type[nn.RNN | nn.LSTM | nn.GRU], hidden: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2, 8)
        self.cell = cell(8, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 2)
        if cell is nn.LSTM:
            # The forget gate starts open: what is not known to be useless is kept (Jozefowicz et al. 2015).
            nn.init.ones_(self.cell.bias_ih_l0[hidden : 2 * hidden])

    def forward(self, strings: Tensor) -> Tensor:
        """(rows, length) of 0 and 1 to logits (rows, 2)."""
        states, _ = self.cell(self.embedding(strings))  # (rows, length, hidden)
        return self.head(states[:, -1])


def train(
    model: nn.Module, inputs: Tensor, truth: Tensor, settings: Settings, hooks: Sequence[Hook] = (), *, name: str
) -> list[float]:
    epochs = settings.epochs or 20
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return fit(
        model,
        Batches((inputs, truth), size=64, seed=settings.seed),
        F.cross_entropy,
        optimizer,
        epochs=epochs,
        settings=settings,
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=epochs + 1),
        hooks=hooks,
        name=name,
    )


def brackets(rows: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """`rows` different strings, 1 opening and 0 closing, and whether each is balanced (half are).

    All have as many of each, open first and close last: neither counting nor a glance at the ends tells them apart.
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[bool, set[tuple[int, ...]]] = {True: set(), False: set()}
    inner = (torch.arange(length - 2) % 2).repeat(4096, 1)
    while min(len(strings) for strings in found.values()) < rows // 2:
        shuffled = inner.gather(1, torch.rand(inner.shape, generator=generator).argsort(dim=1))
        strings = F.pad(F.pad(shuffled, (1, 0), value=1), (0, 1), value=0)
        for string, good in zip(strings.tolist(), is_balanced(strings).tolist(), strict=True):
            found[good].add(tuple(string))
    halves = [torch.tensor(sorted(strings)) for strings in found.values()]
    halves = [half[torch.randperm(len(half), generator=generator)[: rows // 2]] for half in halves]
    mixed = torch.cat(halves)[torch.randperm(rows, generator=generator)]
    return mixed, is_balanced(mixed).long()


def is_balanced(strings: Tensor) -> Tensor:
    """Never more closed than opened so far, and all closed in the end: (rows, length) to (rows,)."""
    depth = (2 * strings - 1).cumsum(dim=1)
    return (depth >= 0).all(dim=1) & (depth[:, -1] == 0)


def counts(strings: Tensor) -> Tensor:
    """How many brackets close and open, as a share: what is left of a string when its order is forgotten."""
    opened = strings.float().mean(dim=1, keepdim=True)
    return torch.cat([1 - opened, opened], dim=1)


def gradient_reach(model: Reader, steps: int) -> Tensor:
    """The norm of d(sum of the last state) / d(input) at each of `steps` places, averaged over 64 random strings."""
    generator = torch.Generator().manual_seed(0)
    device = model.head.weight.device
    strings = torch.randint(0, 2, (64, steps), generator=generator).to(device)
    inputs = model.embedding(strings).detach().requires_grad_()
    states, _ = model.cell(inputs)
    (gradient,) = torch.autograd.grad(states[:, -1].sum(), inputs)
    return gradient.norm(dim=2).mean(dim=0).cpu()  # (steps,)
