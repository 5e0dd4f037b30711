"""The profiler names a bottleneck that is there, and mending it changes the time and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import DeviceType

from workstation.examples import profiling
from workstation.examples.datasets import digits
from workstation.examples.png_batches import FileBatches, as_files, decoded_once
from workstation.training.settings import Settings


def test_the_loader_is_found_and_mended_without_changing_a_bit(settings: Settings) -> None:
    result = profiling.run(settings)
    assert result.holds(), result


def test_a_remedy_that_mends_nothing_breaks_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "decoded_once", FileBatches)
    result = profiling.run(Settings(epochs=1))
    assert result.losses_differ_by == 0
    assert not result.holds()


def test_another_order_of_rows_shows_in_the_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    in_another_order = lambda files, classes, seed: decoded(files, classes, seed + 1)  # noqa: E731
    decoded = decoded_once
    monkeypatch.setattr(profiling, "decoded_once", in_another_order)
    assert profiling.run(Settings(epochs=1)).losses_differ_by > 0


def test_where_the_batches_are_ready_the_loader_is_not_blamed() -> None:
    files, classes = as_files()
    watched = profiling.profiled(decoded_once(files, classes, 0), Settings(epochs=1))
    assert not profiling.busiest(watched).startswith(profiling.LOADER)
    assert profiling.loading_share(watched) < 0.5


def test_what_a_gpu_says_of_a_mark_does_not_take_the_place_of_the_cpus() -> None:
    rows = [
        SimpleNamespace(key="training", device_type=DeviceType.CPU, cpu_time_total=4.0),
        SimpleNamespace(key="wait for a batch", device_type=DeviceType.CPU, cpu_time_total=1.0),
        SimpleNamespace(key="training", device_type=DeviceType.CUDA, cpu_time_total=0.0),
    ]
    watched: Any = SimpleNamespace(key_averages=lambda: rows)
    assert profiling.loading_share(watched) == 0.25


def test_the_files_hold_the_digits_exactly() -> None:
    batches = decoded_once(*as_files(), seed=0)
    assert torch.equal(batches.tensors[0], digits()[0])
    assert torch.equal(batches.tensors[1], digits()[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_gives_the_same_batches_however_many_workers_it_has(workers: int) -> None:
    files, classes = as_files()
    loader = FileBatches(files, classes, seed=4, workers=workers)
    ready = decoded_once(files, classes, seed=4)
    for epoch in (0, 3):
        loader.set_epoch(epoch)
        ready.set_epoch(epoch)
        for ours, theirs in zip(loader, ready, strict=True):
            assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def loss(epsilon: float) -> Tensor:
    return profiling.distance(torch.ones(2, 3, requires_grad=True), torch.ones(2, 3), epsilon).sum()


def test_a_nan_in_a_gradient_is_traced_to_its_operation_and_mended() -> None:
    assert torch.isfinite(loss(epsilon=0)), "the loss itself looks well"
    assert profiling.nan_source(lambda: loss(epsilon=0)) == "PowBackward0"
    assert profiling.nan_source(lambda: loss(epsilon=1e-12)) == "nothing"


def test_an_error_that_is_no_nan_is_not_swallowed() -> None:
    with pytest.raises(RuntimeError, match="does not require grad"):
        profiling.nan_source(lambda: torch.ones(1).sum())
