"""The job that faults are done to: job.py DIRECTORY. 60 steps of a small network, and a log of every one of them.

Written there: steps.jsonl, a line each time the job starts and after each step, by rank 0; result.json at the end;
pid-HOST, whom to kill. What it does to itself when asked: die while a checkpoint is about to be shown (DIE_IN_SAVE),
and forget Adam's moments when it goes on (LOSE_MOMENTS), which the comparison of losses must notice.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from workstation.errors import WorkstationError
from workstation.training import distributed, sealed
from workstation.training.batches import Batches
from workstation.training.checkpoint import Checkpoints
from workstation.training.loop import Fit, Hook, fit
from workstation.training.preemption import stoppable
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

EPOCHS, STEPS_AN_EPOCH, SIZE = 6, 10, 32
SECONDS_A_STEP = 0.15  # a larger model's pace: a fault has to find the job under way
SECONDS_A_CHECKPOINT = 1.0
# From this step on it takes its time until the test has seen what it waits for. Less than PEER_TIMEOUT.
LINGERS_AT, SECONDS_OF_A_LINGERING_STEP = 40, 3.0


class Log(Hook):
    """Stands before the checkpoints, so that a step after which the job is stopped is logged too."""

    def __init__(self, directory: Path) -> None:
        self._path, self._may_end = directory / "steps.jsonl", directory / "may-end"

    def step(self, fit: Fit) -> None:
        lingers = fit.step >= LINGERS_AT and not self._may_end.exists()
        time.sleep(SECONDS_OF_A_LINGERING_STEP if lingers else SECONDS_A_STEP)
        self.write(step=fit.step)

    def write(self, **what: int) -> None:
        if distributed.rank() == 0:
            writer = f"{socket.gethostname()}:{os.getpid()}"
            line = {**what, "nodes": distributed.size(), "time": time.time(), "writer": writer}
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")


class LogStart(Hook):
    """Stands behind them, to see where they have set the job to."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def start(self, fit: Fit) -> None:
        self._log.write(start=fit.step)


class LoseMoments(Hook):
    def start(self, fit: Fit) -> None:
        for moments in fit.optimizer.state.values():
            moments["exp_avg"].zero_()


def die_in_save(directory: Path) -> None:
    """Let the first save after step 20 end in SIGKILL, when all its files are written and it has no name yet."""
    show = sealed.publish

    def publish(partial: Path, path: Path) -> None:
        epochs, steps = (
            (int(number) for number in path.name.split("-")[-2:]) if path.is_relative_to(directory) else (0, 0)
        )
        mark = directory / "died"
        if epochs * STEPS_AN_EPOCH + steps >= 20 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        show(partial, path)

    sealed.publish = publish


def main(directory: Path) -> None:
    (directory / f"pid-{socket.gethostname()}").write_text(str(os.getpid()))
    if os.environ.get("DIE_IN_SAVE"):
        die_in_save(directory)
    seed_everything(0)
    x = torch.randn(STEPS_AN_EPOCH * SIZE, 16)
    model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=EPOCHS * STEPS_AN_EPOCH + 1)
    batches = Batches((x, x.sum(dim=1).long() % 4), size=SIZE, augment=lambda x: x + 0.1 * torch.randn_like(x))
    log = Log(directory)
    hooks: list[Hook] = [log, Checkpoints(directory, SECONDS_A_CHECKPOINT), LogStart(log)]
    if os.environ.get("LOSE_MOMENTS"):
        hooks.append(LoseMoments())
    end = End()
    fit(model, batches, F.cross_entropy, optimizer, epochs=EPOCHS, settings=Settings(), scheduler=scheduler,
        schedule="step", hooks=[*hooks, end])  # fmt: skip
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    digests = [""] * distributed.size()  # of each node
    dist.all_gather_object(digests, hashlib.sha256(weights.numpy().tobytes()).hexdigest())
    if distributed.rank() == 0:
        result: dict[str, Any] = {"curve": end.curve, "weights": digests}
        (directory / "result.json").write_text(json.dumps(result))


class End(Hook):
    def end(self, fit: Fit) -> None:
        self.curve = list(fit.curve)


if __name__ == "__main__":
    try:
        with stoppable(), distributed.joined("cpu"):
            main(Path(sys.argv[1]))
    except WorkstationError as error:
        print(f"workstation: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
