"""Where does the time go, and where did the NaN come from? (A2 §7.2; claim 60)

The article recommends TensorBoard, rightly, and a "PyTorch Debug" that does not exist. What exists is `torch.profiler`
and `torch.autograd.detect_anomaly`. Here both are put to work: a training that decodes its pictures one by one is
profiled, the bottleneck is named and mended with the same losses to the last bit, and a NaN is traced to its operation.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile, record_function

from workstation.examples.datasets import DIGITS
from workstation.examples.png_batches import Annotated, FileBatches, as_files, decoded_once
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

DATA = f"{DIGITS}, as PNG files"
PROMISE = "the profiler names the loader; mended, training is at least twice as fast, with the same losses to the bit"
LOADER = "enumerate(DataLoader)"  # how torch itself calls the wait for the next batch


@dataclass(frozen=True)
class Result:
    bottleneck: str  # where most of the time was spent, by the profiler
    loading_before: float  # share of the time that went into waiting for batches
    loading_after: float
    seconds_before: float  # the same epochs, without the profiler
    seconds_after: float
    losses_differ_by: float
    nan_comes_from: str  # by detect_anomaly

    def holds(self) -> bool:
        return (
            self.bottleneck.startswith(LOADER)
            and self.seconds_after <= self.seconds_before / 2
            and self.losses_differ_by == 0
            and self.nan_comes_from == "PowBackward0"
        )


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    files, classes = as_files()
    slow = FileBatches(files, classes, settings.seed)
    fast = decoded_once(files, classes, settings.seed)
    losses = train(slow, settings, hooks, "slow"), train(fast, settings, hooks, "fast")
    before, after = profiled(slow, settings), profiled(fast, settings)
    seconds_before, seconds_after = quickest(settings, slow, fast)
    return Result(
        busiest(before),
        loading_share(before),
        loading_share(after),
        seconds_before,
        seconds_after,
        max(abs(one - other) for one, other in zip(*losses, strict=True)),
        nan_source(lambda: distance(torch.ones(2, 3, requires_grad=True), torch.ones(2, 3)).sum()),
    )


def train(
    batches: FileBatches | Batches | Annotated, settings: Settings, hooks: Sequence[Hook] = (), name: str = "profiled"
) -> list[float]:
    seed_everything(settings.seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    epochs = settings.epochs or 2
    return fit(model, batches, F.cross_entropy, optimizer, epochs=epochs, settings=settings, hooks=hooks, name=name)


def profiled(batches: FileBatches | Batches, settings: Settings) -> profile:
    """The same training under the profiler, which makes it slower: read shares here, and seconds elsewhere.

    The quickest of three: a program that takes the core away in the middle of an operation makes that one look busy.
    """
    activities = [ProfilerActivity.CPU]
    if settings.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    runs = []
    for _ in range(3):
        began = time.perf_counter()
        with profile(activities=activities) as watched, record_function("training"):
            train(Annotated(batches), replace(settings, compile=False))
        runs.append((time.perf_counter() - began, watched))
    return min(runs, key=lambda run: run[0])[1]


def busiest(watched: profile) -> str:
    """Where most of the CPU's time was spent, not counting what was called from there. Our own marks are left out."""
    ours = ("training", "wait for a batch")
    events = [event for event in watched.key_averages() if event.key not in ours]
    name: str = max(events, key=lambda event: event.self_cpu_time_total).key
    return name


def loading_share(watched: profile) -> float:
    """The share of the training that was spent waiting for the next batch."""
    # A mark under which kernels ran comes twice: the GPU's row of it has no CPU time (pytorch#144613).
    rows = [row for row in watched.key_averages() if row.device_type == DeviceType.CPU]
    total = {row.key: row.cpu_time_total for row in rows}
    share: float = total["wait for a batch"] / total["training"]
    return share


def quickest(settings: Settings, *ways: FileBatches | Batches) -> list[float]:
    """Seconds of the same training, by where the batches come from, without the profiler.

    The best of five of each, in turn: other programs on the machine only ever make it slower, and all of them alike.
    """
    took = [[seconds(batches, settings) for batches in ways] for _ in range(5)]
    return [min(each) for each in zip(*took, strict=True)]


def seconds(batches: FileBatches | Batches, settings: Settings) -> float:
    began = time.perf_counter()
    train(batches, replace(settings, compile=False))
    return time.perf_counter() - began


def distance(a: Tensor, b: Tensor, epsilon: float = 0.0) -> Tensor:
    """Between the rows of two tensors. Where they are equal √ has slope ∞, and ∞·0 is NaN: `epsilon` prevents it."""
    return ((a - b).square().sum(dim=1) + epsilon).sqrt()


def nan_source(loss: Callable[[], Tensor]) -> str:
    """The backward function that first gives a NaN, or "nothing". Slow: for the hunt, never for the whole training.

    The cause may lie one step earlier: √ at 0 gives ∞, which anomaly detection lets pass, and the square makes it NaN.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it is slow, and prints the line of the forward call
        try:
            with torch.autograd.detect_anomaly(check_nan=True):
                loss().backward()
        except RuntimeError as error:
            found = re.search(r"Function '(\w+)' returned nan", str(error))
            if found is None:
                raise
            return found[1]
    return "nothing"
