"""What every chapter leans on: device, seed, loop, scaling, run directories."""

from __future__ import annotations

import itertools
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from workstation.errors import DeviceError, SettingError
from workstation.examples import distributed, tuning
from workstation.examples.catalog import chapter
from workstation.training import device, rundir
from workstation.training.batches import Batches
from workstation.training.loop import Fit, Hook, NoBatchesError, fit
from workstation.training.scaling import Standardizer
from workstation.training.seed import chance, seed_everything
from workstation.training.settings import Settings


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: asking for one is no error")
def test_a_missing_gpu_is_one_clear_line_with_a_remedy() -> None:
    with pytest.raises(DeviceError, match=r"sees no GPU.*workstation doctor"):
        device.choose("cuda")
    assert device.choose("auto") == torch.device("cpu")


@pytest.mark.gpu
def test_auto_takes_the_gpu() -> None:
    assert device.choose("auto") == device.choose("cuda") == torch.device("cuda")


def test_an_unknown_device_names_the_choices() -> None:
    with pytest.raises(DeviceError, match="auto, cpu, cuda"):
        device.choose("tpu")


def test_a_seed_repeats_every_generator() -> None:
    def draw() -> tuple[float, ...]:
        import random

        import numpy as np

        return random.random(), float(np.random.random()), torch.rand(()).item()

    seed_everything(7)
    first = draw()
    seed_everything(7)
    assert draw() == first
    assert draw() != first


def test_the_mean_loss_weighs_rows_not_batches() -> None:
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    rows = torch.tensor([[1.0], [1.0], [4.0]])
    frozen = torch.optim.SGD(model.parameters(), lr=0.0)
    batches = [(rows[:2], rows[:2]), (rows[2:], rows[2:])]
    losses = fit(model, batches, F.mse_loss, frozen, epochs=1, settings=Settings())
    assert losses == [pytest.approx((1 + 1 + 16) / 3)]


def parameters_after(batch: tuple[torch.Tensor, ...], **how: Any) -> torch.Tensor:
    """A linear layer's parameters after three steps."""
    seed_everything(0)
    model = nn.Linear(3, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    fit(model, [batch], F.cross_entropy, optimizer, epochs=3, settings=Settings(), **how)
    return nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize("accumulate", [2, 3, 10])
def test_accumulated_micro_batches_are_one_big_batch(accumulate: int) -> None:
    seed_everything(1)
    targets = torch.randint(0, 4, (10,))
    targets[[0, 1, 2, 7]] = -100  # cross_entropy ignores it: the first third asks for less than the others
    batch = (torch.randn(10, 3), targets)

    def asked_for(target: torch.Tensor) -> int:
        return int((target != -100).sum())

    whole = parameters_after(batch, weight=asked_for)
    assert torch.allclose(parameters_after(batch, weight=asked_for, accumulate=accumulate), whole, atol=1e-6)
    # Weighed by rows, as if every row counted, it is another gradient.
    assert not torch.allclose(parameters_after(batch, accumulate=2), whole, atol=1e-3)


def test_a_clipped_step_is_no_longer_than_asked_for() -> None:
    rows, target = 1000 * torch.ones(1, 3), torch.tensor([0])

    def length(**how: Any) -> float:
        moves = parameters_after((rows, target), **how) - parameters_after((rows, target), clip=0.0)
        return moves.norm().item()

    assert length(clip=0.1) <= 0.3 + 1e-6
    assert length() > 100


@pytest.mark.parametrize(("schedule", "rates"), [("epoch", [1.0, 1.0, 0.5, 0.5]), ("step", [1.0, 0.5, 0.25, 0.125])])
def test_a_schedule_goes_by_epoch_or_by_step(schedule: str, rates: list[float]) -> None:
    seen = []

    class Watch(Hook):
        def start(self, fit: Fit) -> None:
            fit.optimizer.register_step_pre_hook(lambda optimizer, *_: seen.append(optimizer.param_groups[0]["lr"]))

    model, one = nn.Linear(1, 1), torch.ones(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    halving = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    fit(model, 2 * [(one, one)], F.mse_loss, optimizer, epochs=2, settings=Settings(), scheduler=halving,
        schedule=schedule, hooks=[Watch()])  # type: ignore[arg-type]  # fmt: skip
    assert seen == rates


def test_an_epoch_without_batches_is_one_clear_line() -> None:
    model, one = nn.Linear(1, 1), torch.ones(1, 1)
    once = iter([(one, one)])
    with pytest.raises(NoBatchesError, match="epoch 2 has no batches"):
        fit(model, once, F.mse_loss, torch.optim.SGD(model.parameters(), lr=0.1), epochs=2, settings=Settings())


def test_batches_hold_every_row_once_in_an_order_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        batches = Batches((torch.arange(10),), size=4, seed=seed)
        batches.set_epoch(epoch)
        assert len(batches) == len(list(batches)) == 3
        return torch.cat([rows for (rows,) in batches]).tolist()

    assert sorted(order(0, 0)) == list(range(10))
    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_fit_gives_each_epoch_a_new_order() -> None:
    seen = []

    class Watching(nn.Linear):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            seen.append(rows.flatten().tolist())
            return super().forward(rows)

    model = Watching(1, 1)
    rows = torch.arange(8.0).unsqueeze(1)
    frozen = torch.optim.SGD(model.parameters(), lr=0.0)
    fit(model, Batches((rows, rows), size=8), F.mse_loss, frozen, epochs=2, settings=Settings())
    assert sorted(seen[0]) == sorted(seen[1])
    assert seen[0] != seen[1]


def test_amp_and_compile_train_to_the_same_place(device: torch.device) -> None:
    def last_loss(**chosen: bool) -> float:
        seed_everything(0)
        rows = torch.randn(64, 3)
        model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        batches = [(rows, rows.sum(dim=1, keepdim=True))]
        settings = Settings(device, **chosen)
        return fit(model, batches, F.mse_loss, optimizer, epochs=100, settings=settings)[-1]

    plain = last_loss()
    assert last_loss(compile=True) == pytest.approx(plain, rel=1e-3)
    assert last_loss(amp=True) == pytest.approx(plain, rel=0.1)
    assert last_loss(amp=True) != plain


@pytest.mark.slow
def test_every_chapter_trains_compiled(chapter_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """--compile captures each chapter's forward and backward. Two batches an epoch show that; the speed is a GPU's."""
    compile_model, graphs = torch.compile, []

    def counted(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        graphs.append(graph)
        return aot_eager(graph, inputs)  # all of the compiler but the kernels, which take minutes

    aot_eager = torch._dynamo.lookup_backend("aot_eager")
    whole = Batches.__iter__
    monkeypatch.setattr(torch, "compile", lambda model, **_: compile_model(model, backend=counted))
    monkeypatch.setattr(Batches, "__iter__", lambda batches: itertools.islice(whole(batches), 2))
    monkeypatch.setattr(tuning, "search", partial(tuning.search, trials=1))
    monkeypatch.setattr(distributed, "two_processes", lambda _: distributed.Job([0.0], [0.0], distributed.EPOCHS * [0]))
    torch._dynamo.reset()
    chapter(chapter_name).load().run(Settings(epochs=1, compile=True), ())
    assert graphs, "nothing was compiled"


def test_hooks_are_ended_when_a_fit_is_cut_short() -> None:
    ended = []

    class Stop(Hook):
        def epoch(self, fit: Fit) -> None:
            if len(fit.losses) == 2:
                raise KeyboardInterrupt

        def end(self, fit: Fit) -> None:
            ended.append(len(fit.losses))

    model = nn.Linear(1, 1)
    one = torch.ones(1, 1)
    with pytest.raises(KeyboardInterrupt):
        fit(model, [(one, one)], F.mse_loss, torch.optim.SGD(model.parameters(), lr=0.1), epochs=9,
            settings=Settings(), hooks=[Stop()])  # fmt: skip
    assert ended == [2]


def test_standardising_is_undone_exactly_and_leaves_a_constant_column_finite() -> None:
    rows = torch.tensor([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    scale = Standardizer.learn(rows)
    assert torch.allclose(scale(rows).mean(dim=0), torch.zeros(2), atol=1e-6)
    assert torch.isfinite(scale(rows)).all()
    assert torch.allclose(scale.invert(scale(rows)), rows)


def test_a_new_run_gets_a_new_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    first, second = rundir.create("house_price"), rundir.create("house_price")
    assert first == tmp_path / "runs" / "house_price" / "001"
    assert second.name == "002"


def test_an_earlier_run_is_never_written_over(tmp_path: Path) -> None:
    rundir.write_json(tmp_path / "metrics.json", {"kept": 1})
    with pytest.raises(SettingError, match="not empty"):
        rundir.create("house_price", tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"kept": 1}


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(rundir.RunDirectoryError, match="--out"):
        rundir.create("house_price", tmp_path / "file" / "below")


def test_the_random_state_of_a_gpu_that_nothing_runs_on_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking would start CUDA there, in each process of a job on the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: pytest.fail("CUDA was started"))
    assert chance()["cuda"] is None
