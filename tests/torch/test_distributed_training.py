"""Many processes train as one would: the same losses, the same weights on each, whoever saved and whoever goes on."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import together
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.errors import SettingError
from workstation.examples import verification
from workstation.examples.verification import contrastive_loss
from workstation.training import distributed, loop, rundir
from workstation.training.batches import Batches
from workstation.training.checkpoint import Checkpoints
from workstation.training.distributed import PeerError
from workstation.training.loop import Fit, Hook, fit
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

EXACT = 1e-6

shard_or_not = pytest.mark.parametrize("shard", [False, True], ids=["ddp", "fsdp2"])


@dataclass
class Curve(Hook):
    losses: list[float] = field(default_factory=list)

    def end(self, fit: Fit) -> None:
        self.losses = fit.curve


@dataclass
class StopAt(Hook):
    at: int

    def step(self, fit: Fit) -> None:
        if fit.step == self.at:
            raise KeyboardInterrupt


def train(
    *hooks: Hook, shard: bool = False, rows: int = 103, size: int = 20, dropout: float = 0.0, epochs: int = 9
) -> tuple[list[float], Tensor]:
    """Six steps an epoch, with what could depend on who computes: uneven batches, augmentation, micro-batches."""
    seed_everything(0)
    x = torch.randn(rows, 6)
    model = nn.Sequential(nn.Linear(6, 16), nn.Dropout(dropout), nn.Tanh(), nn.Linear(16, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    batches = Batches((x, x.sum(dim=1).long() % 4), size=size, augment=lambda x: x + 0.1 * torch.randn_like(x))
    curve, settings = Curve(), Settings(shard=shard)
    how: dict[str, Any] = {"accumulate": 3, "clip": 1.0}
    with contextlib.suppress(KeyboardInterrupt):
        fit(model, batches, F.cross_entropy, optimizer, epochs=epochs, settings=settings, hooks=[*hooks, curve], **how)
    return curve.losses, weights_of(model)


def weights_of(model: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten().double() for value in model.state_dict().values()])


def far(ours: list[float], theirs: list[float]) -> float:
    assert len(ours) == len(theirs) > 0
    return max(abs(one - other) for one, other in zip(ours, theirs, strict=True))


def all_equal(tensors: list[Tensor]) -> bool:
    return all(torch.equal(tensor, tensors[0]) for tensor in tensors)


@shard_or_not
@pytest.mark.parametrize("size", [1, 2, 4])
def test_any_number_of_processes_gives_the_same_curve_and_equal_weights(size: int, shard: bool) -> None:
    alone, weights = train()
    curves, replicas = zip(*together(size, train_as, shard), strict=True)
    assert len(alone) == 54
    assert all(far(curve, alone) <= EXACT for curve in curves)
    assert all_equal(list(replicas))
    assert (replicas[0] - weights).abs().max() <= 10 * EXACT


def train_as(shard: bool) -> tuple[list[float], Tensor]:
    return train(shard=shard)


def test_from_the_second_step_on_no_second_copy_of_every_gradient_is_made() -> None:
    """DDP sends them from one place: while micro-batches add up, too, they are there and nowhere else."""
    for places in together(2, gradients_places):
        assert len(places) == 5, "before each of the six micro-batches but the first"
        assert len(set(places[1:])) == 1


def gradients_places() -> list[int]:
    places, model = [], nn.Linear(6, 1)

    def note(*_: object) -> None:
        if model.weight.grad is not None:
            places.append(model.weight.grad.data_ptr())

    model.register_forward_pre_hook(note)
    rows, optimizer = torch.randn(8, 6), torch.optim.SGD(model.parameters())
    fit(model, [(rows, rows[:, :1])] * 3, F.mse_loss, optimizer, epochs=1, settings=Settings(), accumulate=2)
    return places


@shard_or_not
def test_a_loss_that_compares_rows_compares_all_of_the_batch(shard: bool) -> None:
    alone, weights = compare_rows(shard=False)
    curves, replicas = zip(*together(3, compare_rows, shard), strict=True)
    assert all(far(curve, alone) <= EXACT for curve in curves)
    assert (replicas[0] - weights).abs().max() <= 10 * EXACT
    apart = together(3, compare_own_rows)
    assert all(far(curve, alone) > 1000 * EXACT for curve, _ in apart)


def compare_rows(shard: bool) -> tuple[list[float], Tensor]:
    seed_everything(0)
    x = torch.randn(103, 6)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    curve, batches = Curve(), Batches((x, torch.arange(103) % 5), size=20)
    fit(model, batches, contrastive_loss, optimizer, epochs=4, settings=Settings(shard=shard), hooks=[curve])
    return curve.losses, weights_of(model)


def compare_own_rows() -> tuple[list[float], Tensor]:
    verification.all_rows = lambda mine: mine
    return compare_rows(shard=False)


def test_without_the_exchange_of_gradients_the_ranks_drift_apart() -> None:
    (alone, _), replicas = train(epochs=2), together(2, train_without_ddp)
    assert not all_equal([weights for _, weights in replicas])
    assert far(replicas[0][0], alone) > 1000 * EXACT


def train_without_ddp() -> tuple[list[float], Tensor]:
    loop.parallel = lambda model, *_: contextlib.nullcontext((model, model))
    return train(epochs=2)


@shard_or_not
def test_a_batch_with_fewer_rows_than_ranks_neither_hangs_nor_counts_twice(shard: bool) -> None:
    alone, _ = train(rows=13, size=5, epochs=3)
    assert all(far(curve, alone) <= EXACT for curve, _ in together(4, train_small, shard))


def train_small(shard: bool) -> tuple[list[float], Tensor]:
    return train(shard=shard, rows=13, size=5, epochs=3)


def test_a_rank_whose_rows_ask_for_nothing_neither_hangs_nor_counts() -> None:
    assert all(far(curve, train_masked()) <= EXACT for curve in together(2, train_masked))


def train_masked() -> list[float]:
    """Every second target is masked, so that rank 1 of two is never asked for anything; a mean over nothing is NaN."""
    seed_everything(0)
    x, targets = torch.randn(8, 3), torch.tensor([0, -100] * 4)
    model, curve = nn.Linear(3, 2), Curve()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fit(model, [(x, targets)] * 3, F.cross_entropy, optimizer, epochs=1, settings=Settings(), hooks=[curve],
        weight=lambda target: int((target != -100).sum()))  # fmt: skip
    assert torch.isfinite(weights_of(model)).all()
    return curve.losses


def test_ranks_drop_other_units_and_stay_equal() -> None:
    masks = together(2, dropped)
    assert not torch.equal(masks[0][0], masks[1][0]), "the same numbers are dropped on every rank"
    assert torch.equal(masks[0][1], masks[1][1])


def dropped() -> tuple[Tensor, Tensor]:
    seen = []

    class Watch(nn.Dropout):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(super().forward(torch.ones_like(x)))
            return x * seen[-1]

    model = nn.Sequential(nn.Linear(3, 64), Watch(0.5), nn.Linear(64, 1))
    x = torch.ones(4, 3)
    fit(model, [(x, x[:, :1])], F.mse_loss, torch.optim.SGD(model.parameters(), lr=0.1), epochs=2, settings=Settings())
    return seen[0], weights_of(model)


def test_batch_norms_statistics_are_the_mean_of_the_ranks() -> None:
    replicas = together(2, normed)
    assert all_equal(replicas)
    assert torch.allclose(replicas[0][:3], normed()[:3], atol=EXACT)  # the running mean, of even halves


def normed() -> Tensor:
    seed_everything(0)
    model = nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.Linear(3, 1))
    x = torch.randn(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    fit(model, [(x, x[:, :1])], F.mse_loss, optimizer, epochs=2, settings=Settings())
    return weights_of(model)


@shard_or_not
@pytest.mark.parametrize(("saved_on", "loaded_on", "allowed"), [(2, 2, 0.0), (4, 2, EXACT), (2, 1, EXACT)])
def test_what_some_processes_saved_others_go_on_from(
    tmp_path: Path, shard: bool, saved_on: int, loaded_on: int, allowed: float
) -> None:
    undisturbed = together(loaded_on, train_briefly, shard)[0]
    together(saved_on, stop_in_the_middle, tmp_path, shard)
    resumed = together(loaded_on, go_on, tmp_path, shard)
    assert far(resumed[0][0], undisturbed[0]) <= allowed
    assert all_equal([weights for _, weights in resumed])
    assert (resumed[0][1] - undisturbed[1]).abs().max() <= 10 * allowed


def train_briefly(shard: bool) -> tuple[list[float], Tensor]:
    return train(shard=shard, epochs=4)


def stop_in_the_middle(directory: Path, shard: bool) -> None:
    train(Checkpoints(directory, every_seconds=0), StopAt(10), shard=shard, epochs=4)


def go_on(directory: Path, shard: bool) -> tuple[list[float], Tensor]:
    return train(Checkpoints(directory), shard=shard, epochs=4)


def test_with_dropout_too_a_resumed_job_is_bitwise_the_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = together(2, train_dropping)
    together(2, train_dropping, Checkpoints(tmp_path, every_seconds=0), StopAt(10))
    resumed = together(2, train_dropping, Checkpoints(tmp_path))
    assert resumed[0][0] == undisturbed[0][0]
    assert torch.equal(resumed[0][1], undisturbed[0][1])


def train_dropping(*hooks: Hook) -> tuple[list[float], Tensor]:
    return train(*hooks, dropout=0.5, epochs=4)


def test_sigterm_to_a_node_saves_on_all_and_ends_that_node_alone(tmp_path: Path) -> None:
    undisturbed, _ = train(epochs=4)
    stayed, left = together(2, terminated, tmp_path)
    assert left == f"stopped by SIGTERM at step 8 of train, which is saved. Go on with --resume {tmp_path}"
    assert stayed.startswith("rank 0 lost a peer: ")
    assert [path.name for path in tmp_path.iterdir()] == ["train-000001-000002"]
    assert far(train(Checkpoints(tmp_path), epochs=4)[0], undisturbed) <= EXACT


def terminated(directory: Path) -> None:
    class Terminate(Hook):
        def step(self, fit: Fit) -> None:
            if fit.step == 7 and distributed.rank() == 1:
                signal.raise_signal(signal.SIGTERM)

    os.environ |= {"GROUP_RANK": str(distributed.rank()), "GROUP_WORLD_SIZE": "2"}  # each rank is a node of its own
    train(Checkpoints(directory), Terminate(), epochs=4)


def test_what_goes_wrong_on_rank_0_is_said_on_every_rank() -> None:
    assert together(2, refused) == [(SettingError, "no"), (PeerError, "rank 0: no")]


def refused() -> tuple[type, str]:
    def make() -> None:
        raise SettingError("no", remedy="Yes.")

    with pytest.raises((SettingError, PeerError)) as caught:
        distributed.from_first(make)
    return caught.type, caught.value.what


def test_a_run_has_one_directory_however_many_processes(tmp_path: Path) -> None:
    made = together(2, make_directory, tmp_path)
    assert made[0] == made[1] == tmp_path / "runs/cnn/001"


def make_directory(home: Path) -> Path:
    os.environ["HOME"] = str(home)
    return distributed.from_first(lambda: rundir.create("cnn"))
