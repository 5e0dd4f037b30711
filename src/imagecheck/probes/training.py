"""Three small trainings, each run whole and once more with a stop and a resume in the middle: training.py DEVICE

regression   a linear model, whose exact answer is known
digits       a CNN on 1797 real images: the test half of UCI's optical digits (Alpaydin & Kaynak 1998), 8x8, 0..16,
             as scikit-learn's load_digits gives them, in digits.z beside this file (zlib: pixels, then labels)
gpt          a two-layer, causal transformer that learns a text by heart
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for to be deterministic

import torch
import torch.nn.functional as F
from torch import nn

SEED = 20240607


class Task(Protocol):
    """A training: made with a device under a seed, advanced step by step, scored at its end."""

    steps: int
    lower_is_better: bool
    threshold: float
    unit: str
    model: nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, device: str) -> None: ...

    def loss(self, step: int) -> torch.Tensor: ...

    def score(self) -> float: ...


class Regression:
    """y = 3 a - 2 b + 0.5, without noise: what is left of the error is the optimizer's."""

    steps, lower_is_better, threshold, unit = 300, True, 1e-6, "mean squared error"

    def __init__(self, device: str) -> None:
        generator = torch.Generator().manual_seed(SEED)
        self.x = torch.randn(256, 2, generator=generator).to(device)
        self.y = self.x @ torch.tensor([[3.0], [-2.0]], device=device) + 0.5
        self.model = nn.Linear(2, 1).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1, weight_decay=0.0)

    def loss(self, step: int) -> torch.Tensor:  # noqa: ARG002 - every step sees all of the data
        return F.mse_loss(self.model(self.x), self.y)

    def score(self) -> float:
        return self.loss(0).item()


class Digits:
    steps, lower_is_better, threshold, unit = 240, False, 0.95, "test accuracy"

    def __init__(self, device: str) -> None:
        pixels = zlib.decompress((Path(__file__).resolve().parent / "digits.z").read_bytes())
        count = len(pixels) // 65
        data = torch.frombuffer(bytearray(pixels), dtype=torch.uint8)
        x = data[: count * 64].view(count, 1, 8, 8).float().div(16.0)
        y = data[count * 64 :].long()
        held_out = torch.arange(count) % 5 == 0  # the images are sorted by writer: a cut at the end tests strangers
        self.train_x, self.train_y = x[~held_out].to(device), y[~held_out].to(device)
        self.test_x, self.test_y = x[held_out].to(device), y[held_out].to(device)
        self.order = torch.Generator().manual_seed(SEED)
        self.model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2),  # no max-pooling: its gradient on CUDA is not deterministic
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(512, 10),
        ).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9, nesterov=True)

    def loss(self, step: int) -> torch.Tensor:
        # A batch of its own for each step, whichever process takes it.
        self.order.manual_seed(SEED + step)
        chosen = torch.randint(len(self.train_x), (64,), generator=self.order).to(self.train_x.device)
        return F.cross_entropy(self.model(self.train_x[chosen]), self.train_y[chosen])

    def score(self) -> float:
        with evaluating(self.model):
            return (self.model(self.test_x).argmax(1) == self.test_y).float().mean().item()


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time_, width = x.shape
        qkv = self.qkv(self.before_attention(x)).view(batch, time_, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, time_, width))
        return x + self.mlp(self.before_mlp(x))


class Gpt:
    steps, lower_is_better, threshold, unit = 250, True, 0.5, "cross-entropy, nats a character"
    context, width = 48, 64

    def __init__(self, device: str) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            import this
        text = codecs.decode(this.s, "rot13")
        letters = sorted(set(text))
        self.text = torch.tensor([letters.index(letter) for letter in text], device=device)
        self.model = nn.ModuleDict(
            {
                "token": nn.Embedding(len(letters), self.width),
                "place": nn.Embedding(self.context, self.width),
                "blocks": nn.Sequential(Block(self.width, 4), Block(self.width, 4)),
                "norm": nn.LayerNorm(self.width),
                "head": nn.Linear(self.width, len(letters)),
            }
        ).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-3, weight_decay=0.0)

    def of(self, starts: torch.Tensor) -> torch.Tensor:
        places = torch.arange(self.context, device=self.text.device)
        index = starts[:, None] + places
        x = self.model["token"](self.text[index]) + self.model["place"](places)
        logits = self.model["head"](self.model["norm"](self.model["blocks"](x)))
        return F.cross_entropy(logits.flatten(0, 1), self.text[index + 1].flatten())

    def loss(self, step: int) -> torch.Tensor:
        order = torch.Generator().manual_seed(SEED + step)
        starts = torch.randint(len(self.text) - self.context - 1, (32,), generator=order)
        return self.of(starts.to(self.text.device))

    def score(self) -> float:
        with torch.no_grad():
            return self.of(torch.arange(0, len(self.text) - self.context - 1, 8, device=self.text.device)).item()


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    model.eval()
    with torch.no_grad():
        yield
    model.train()


TASKS: dict[str, type[Task]] = {"regression": Regression, "digits": Digits, "gpt": Gpt}


def begin(task: type[Task], device: str) -> Task:
    torch.manual_seed(SEED)
    return task(device)


def advance(run: Task, first: int, last: int) -> list[float]:
    """Take the steps first..last-1; returns their losses."""
    losses = []
    for step in range(first, last):
        run.optimizer.zero_grad(set_to_none=True)
        loss = run.loss(step)
        loss.backward()
        run.optimizer.step()
        losses.append(loss.detach())
    return [loss.item() for loss in losses]


def stop(run: Task, device: str) -> bytes:
    """Everything the rest of the run depends on, as bytes."""
    state = {"model": run.model.state_dict(), "optimizer": run.optimizer.state_dict(), "rng": torch.get_rng_state()}
    if device == "cuda":
        state["cuda_rng"] = torch.cuda.get_rng_state()
    checkpoint = io.BytesIO()
    torch.save(state, checkpoint)
    return checkpoint.getvalue()


def resume(task: type[Task], checkpoint: bytes, device: str) -> Task:
    """A run in the state of `checkpoint`, made anew with another seed, so that nothing is right by chance."""
    torch.manual_seed(SEED + 1)
    run = task(device)
    state = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    if device == "cuda":
        torch.cuda.set_rng_state(state["cuda_rng"])
    return run


def examine(task: type[Task], device: str) -> dict[str, Any]:
    started = time.monotonic()
    whole = begin(task, device)
    losses = advance(whole, 0, task.steps)
    score = whole.score()
    seconds = time.monotonic() - started

    half = task.steps // 2
    again = begin(task, device)
    first_half = advance(again, 0, half)
    second_half = advance(resume(task, stop(again, device), device), half, task.steps)
    return {
        "losses": losses,
        "score": score,
        "threshold": task.threshold,
        "lower_is_better": task.lower_is_better,
        "unit": task.unit,
        "steps": task.steps,
        "seconds": round(seconds, 2),
        "repeats": first_half == losses[:half],
        "resumes": second_half == losses[half:],
        "first_difference": first_difference(losses, first_half + second_half),
    }


def first_difference(one: list[float], other: list[float]) -> int | None:
    return next((step for step in range(len(one)) if one[step] != other[step]), None)


def main() -> None:
    device = sys.argv[1]
    torch.set_num_threads(1)  # models this small are no faster on more, and on a busy machine far slower
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    document: dict[str, Any] = {}
    for name, task in TASKS.items():
        try:
            document[name] = examine(task, device)
        except Exception as error:  # whatever it is, it is the finding
            document[name] = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(document))


if __name__ == "__main__":
    main()
