"""Distributed training: the article's sample, mended (A1 §2.3, §3.2, §9.3; A2 §2.4, §3.2, §9.3; claims 7, 14, 39, 62).

The article says that the model is cut up over the machines; its sample does data parallelism, where each keeps a whole
one. And it does not even that: it starts rank 0 alone, has no data, and never wraps the model, so that nothing is ever
exchanged. Mended but for the wrapping, two processes end with two models. Wrapped in DistributedDataParallel they end
with one, to the bit.

Every other network of these chapters is trained by `training.loop.fit`. Two loops here are meant: the article's own,
which is the subject, and `plain_loop.means`, by which `fit` on many ranks is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from workstation.examples import plain_loop
from workstation.training import distributed
from workstation.training.batches import Batches
from workstation.training.distributed import PeerError
from workstation.training.loop import Hook, fit
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

PROCESSES, ROWS, EPOCHS, BATCH = 2, 256, 10, 64

DATA = "256 rows of ten numbers from N(0, 1), a plane of them and noise, made from the seed"
PROMISE = "without DDP the ranks' models drift apart; with it they are equal to the bit, and train as one process does"


@dataclass(frozen=True)
class Result:
    processes: int
    apart_without: float  # the largest difference of a weight between two ranks, after the article's loop
    apart_with: float  # the same, the model wrapped in DDP
    losses_off: float  # this project's loop on all ranks: how far from one process, at most

    def holds(self) -> bool:
        return self.processes > 1 and self.apart_without > 0.01 and self.apart_with == 0.0 and self.losses_off <= 1e-6


@dataclass(frozen=True)
class Job:
    """What the ranks of one job found, the same on each of them. The first two by epoch."""

    without: list[float]  # how far their models are apart
    wrapped: list[float]
    losses: list[float]


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    """On the ranks that there are; on two processes of its own where torchrun has not started it."""
    in_job = distributed.size() > 1
    job = as_rank(settings.seed) if in_job else two_processes(settings.seed)
    train(settings, hooks)  # what a person sees of it: the bar, the curve, the checkpoints
    off = max(abs(ours - theirs) for ours, theirs in zip(job.losses, written_out(settings.seed), strict=True))
    processes = distributed.size() if in_job else PROCESSES
    return Result(processes, job.without[-1], job.wrapped[-1], off)


def two_processes(seed: int) -> Job:
    """What a person would type, and its answer."""
    command = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    command += ["--nproc-per-node", str(PROCESSES), "-m", "workstation.examples.distributed", str(seed)]
    ours = {name: value for name, value in os.environ.items() if name not in distributed.VARIABLES}
    ran = subprocess.run([sys.executable, *command], env=ours, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise PeerError(
            f"two processes did not end well: {ran.stderr.strip()[-500:]}", remedy="See docs/distributed.md."
        )
    return Job(**json.loads(ran.stdout))


def as_rank(seed: int) -> Job:
    return Job(article_loop(seed, wrap=False), article_loop(seed, wrap=True), train(Settings(seed=seed)))


def article_loop(seed: int, wrap: bool) -> list[float]:
    """The article's loop, given data and a sampler, with its model wrapped or not; how far apart, after each epoch."""
    seed_everything(seed + distributed.rank())  # nothing makes two processes start from the same weights, but DDP
    model = article_model()
    replica = DistributedDataParallel(model) if wrap else model
    x, y = plane(seed)
    sampler = DistributedSampler(range(ROWS), seed=seed)  # this rank's half of the rows
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    distances = []
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)  # without it every epoch has the same order
        for rows in torch.tensor(list(sampler)).split(BATCH // distributed.size()):
            optimizer.zero_grad()
            F.mse_loss(replica(x[rows]), y[rows]).backward()
            optimizer.step()
        distances.append(apart(model))
    return distances


def article_model() -> nn.Sequential:
    """10-10-1, as printed: nothing bends between the two layers, so a plane is all that it can learn."""
    return nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 1))


def plane(seed: int) -> tuple[Tensor, Tensor]:
    """Rows, (256, 10), and their targets, (256, 1), of variance near 1."""
    generator = torch.Generator().manual_seed(seed)
    x, slope = torch.randn(ROWS, 10, generator=generator), torch.randn(10, 1, generator=generator)
    return x, x @ slope / slope.norm() + 0.1 * torch.randn(ROWS, 1, generator=generator)


def apart(model: nn.Module) -> float:
    """The largest difference of a weight between any two ranks."""
    mine = nn.utils.parameters_to_vector(model.parameters()).detach()
    largest, smallest = mine.clone(), mine.clone()
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    dist.all_reduce(smallest, op=dist.ReduceOp.MIN)
    return float((largest - smallest).max())


def train(settings: Settings, hooks: Sequence[Hook] = ()) -> list[float]:
    """The same by this project's loop. It takes whole batches; each rank that there is trains on its rows of them."""
    seed_everything(settings.seed)
    model, epochs = article_model(), settings.epochs or EPOCHS
    batches = Batches(plane(settings.seed), size=BATCH, seed=settings.seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    return fit(model, batches, F.mse_loss, optimizer, epochs=epochs, settings=settings, hooks=hooks, name="distributed")


def written_out(seed: int) -> list[float]:
    """The mean loss of each epoch on one process, by a loop that knows of no other."""
    seed_everything(seed)
    return plain_loop.means(article_model(), Batches(plane(seed), size=BATCH, seed=seed), EPOCHS)


if __name__ == "__main__":
    with distributed.joined("cpu"):
        found = as_rank(int(sys.argv[1]))
        if distributed.rank() == 0:
            print(json.dumps(asdict(found)))
