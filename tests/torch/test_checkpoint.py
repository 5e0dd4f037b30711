"""A stopped run goes on as if it had never stopped, and a damaged checkpoint is never trusted."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from workstation.training.batches import Batches
from workstation.training.checkpoint import CheckpointError, Checkpoints
from workstation.training.loop import DivergedError, Fit, Hook, fit
from workstation.training.preemption import Stopped
from workstation.training.sealed import is_whole
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

EPOCHS = 6


class StopAfter(Hook):
    """Stands for a person's Ctrl-C."""

    def __init__(self, step: int) -> None:
        self._step = step

    def step(self, fit: Fit) -> None:
        if fit.step == self._step:
            raise KeyboardInterrupt


def train(device: torch.device, *hooks: Hook) -> tuple[list[float], dict[str, Tensor]]:
    """A small net with all that could differ after a stop: dropout, order, Adam's moments, a falling rate."""
    seed_everything(0)
    rows = torch.randn(40, 3)
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 1))
    noisy = Batches((rows, rows.sum(dim=1, keepdim=True)), size=16, seed=0, augment=noise)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    losses = fit(
        model,
        noisy,
        F.mse_loss,
        optimizer,
        epochs=EPOCHS,
        settings=Settings(device),
        scheduler=scheduler,
        hooks=hooks,
    )
    return losses, {name: value.cpu() for name, value in model.state_dict().items()}


def noise(x: Tensor) -> Tensor:
    """Of every generator that an augmentation may draw from."""
    return x + 0.1 * torch.randn(3) + random.gauss(0, 0.1) + np.random.normal(0, 0.1)


def stopped_after(step: int, directory: Path, device: torch.device) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(device, Checkpoints(directory, every_seconds=0), StopAfter(step))


@pytest.mark.parametrize("step", [9, 10, 11], ids=["at an epoch's end", "in its middle", "before its last step"])
def test_a_resumed_run_is_bitwise_the_run_that_was_never_stopped(
    tmp_path: Path, device: torch.device, step: int
) -> None:
    losses, weights = train(device)
    stopped_after(step, tmp_path, device)
    resumed_losses, resumed_weights = train(device, Checkpoints(tmp_path))
    assert resumed_losses == losses
    assert all(torch.equal(resumed_weights[name], weights[name]) for name in weights)


def test_a_loader_that_draws_its_order_as_it_begins_goes_on_in_the_same_one(tmp_path: Path) -> None:
    def tune(*hooks: Hook) -> list[float]:
        seed_everything(0)
        rows = torch.randn(32, 3)
        model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        loader = DataLoader(TensorDataset(rows, rows[:, :1]), batch_size=8, shuffle=True)
        optimizer = torch.optim.Adam(model.parameters())
        return fit(model, loader, F.mse_loss, optimizer, epochs=2, settings=Settings(), hooks=hooks)

    losses = tune()
    with pytest.raises(KeyboardInterrupt):
        tune(Checkpoints(tmp_path, every_seconds=0), StopAfter(2))
    assert tune(Checkpoints(tmp_path)) == losses


def saved(directory: Path) -> list[Path]:
    """Oldest first."""
    return sorted(directory.glob("train-*"))


def test_the_comparison_notices_lost_optimizer_moments(tmp_path: Path) -> None:
    class LoseMoments(Hook):
        def start(self, fit: Fit) -> None:
            for moments in fit.optimizer.state.values():
                moments["exp_avg"].zero_()

    cpu = torch.device("cpu")
    losses, _ = train(cpu)
    stopped_after(9, tmp_path, cpu)
    assert train(cpu, Checkpoints(tmp_path), LoseMoments())[0] != losses


def test_frozen_weights_and_a_plain_optimizer_come_back(tmp_path: Path) -> None:
    def tune(*hooks: Hook) -> Tensor:
        seed_everything(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        model[0].requires_grad_(False)
        optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
        rows = torch.randn(8, 3)
        fit(model, [(rows, rows[:, :1])] * 2, F.mse_loss, optimizer, epochs=2, settings=Settings(), hooks=hooks)
        return torch.cat([value.flatten() for value in model.state_dict().values()])

    whole = tune()
    with pytest.raises(KeyboardInterrupt):
        tune(Checkpoints(tmp_path, every_seconds=0), StopAfter(3))
    assert torch.equal(tune(Checkpoints(tmp_path)), whole)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    class Count(Hook):
        epochs = 0

        def epoch(self, fit: Fit) -> None:  # noqa: ARG002
            Count.epochs += 1

    cpu = torch.device("cpu")
    first = train(cpu, Checkpoints(tmp_path))
    again = train(cpu, Checkpoints(tmp_path), Count())
    assert again[0] == first[0]
    assert Count.epochs == 0


DAMAGES = ["flipped", "truncated", "without its checksums", "without its metadata", "without a rank's file"]
DAMAGES += ["without a rank's file, and its checksum"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_loudly(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu = torch.device("cpu")
    losses, _ = train(cpu)
    stopped_after(10, tmp_path, cpu)
    newest = saved(tmp_path)[-1]
    spoil(newest, damage)
    assert train(cpu, Checkpoints(tmp_path))[0] == losses
    assert f"{newest} does not match its checksum" in capsys.readouterr().err


def spoil(checkpoint: Path, damage: str) -> None:
    shard = checkpoint / "__0_0.distcp"
    content = shard.read_bytes()
    if damage == "flipped":
        shard.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif damage == "truncated":
        shard.write_bytes(content[: len(content) // 2])
    else:
        lost = {"without its checksums": "SHA256SUMS", "without its metadata": ".metadata"}.get(damage, shard.name)
        (checkpoint / lost).unlink()
        if damage.endswith("its checksum"):
            sums = checkpoint / "SHA256SUMS"
            sums.write_text("".join(line for line in sums.open() if shard.name not in line))


def test_the_two_newest_are_kept_and_nothing_half_written_is_left(tmp_path: Path) -> None:
    (tmp_path / ".train-000001-000001.partial").mkdir()  # of a process that was killed
    (tmp_path / ".train-000001-000002.partial").touch()  # whoever put it there
    train(torch.device("cpu"), Checkpoints(tmp_path, every_seconds=0))
    assert {path.name for path in tmp_path.iterdir()} == {"train-000005-000003", "train-000006-000000"}


def test_anyone_can_check_a_checkpoint(tmp_path: Path) -> None:
    train(torch.device("cpu"), Checkpoints(tmp_path))
    (checkpoint,) = saved(tmp_path)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=checkpoint, check=True)


def test_a_diverged_model_is_never_saved_over_a_good_one(tmp_path: Path) -> None:
    class Spoil(Hook):
        def step(self, fit: Fit) -> None:
            if fit.step == 7:
                next(fit.model.parameters()).data.fill_(torch.nan)

    with pytest.raises(DivergedError, match="at step 8, in epoch 3 of 6"):
        train(torch.device("cpu"), Checkpoints(tmp_path, every_seconds=0), Spoil())
    assert saved(tmp_path)[-1].name == "train-000002-000001"


class Overflow(Hook):
    """From this step on a gradient is infinite although its loss is not, as a square root's at 0 is."""

    def __init__(self, step: int) -> None:
        self._step = step

    def start(self, fit: Fit) -> None:
        next(fit.model.parameters()).register_hook(lambda slope: slope / (fit.step + 1 < self._step))


@pytest.mark.parametrize(("step", "epoch"), [(7, 3), (3 * EPOCHS, EPOCHS)], ids=["in the middle", "at the very end"])
def test_a_gradient_that_overflows_spoils_no_checkpoint_and_no_result(tmp_path: Path, step: int, epoch: int) -> None:
    said = f"a weight is no longer a number after step {step}, in epoch {epoch} of {EPOCHS}"
    with pytest.raises(DivergedError, match=said):
        train(torch.device("cpu"), Checkpoints(tmp_path, every_seconds=0), Overflow(step))
    restored = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 1))
    assert Checkpoints(tmp_path).restore(restored, "train")
    assert all(weight.isfinite().all() for weight in restored.parameters())


def test_saves_that_hold_the_training_up_come_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 33 s and a copy that takes 5: every minute was asked for, and a twentieth of the time is every 100 s."""
    now = 0.0
    monkeypatch.setattr("workstation.training.checkpoint.time.monotonic", lambda: now)
    taken = []

    def save(*_: object, **__: object) -> Future[None]:
        nonlocal now
        taken.append(now)
        now += 5
        done: Future[None] = Future()
        done.set_result(None)
        return done

    monkeypatch.setattr("workstation.training.checkpoint.distributed.in_background", save)

    class Clock(Hook):
        def step(self, fit: Fit) -> None:  # noqa: ARG002
            nonlocal now
            now += 33

    train(torch.device("cpu"), Clock(), Checkpoints(tmp_path, every_seconds=60))
    assert taken[0] == 66
    assert {later - earlier - 5 for earlier, later in pairwise(taken[:-1])} == {132}


def test_what_is_saved_is_the_step_it_names_though_training_goes_on(tmp_path: Path) -> None:
    class SaveOnce(Checkpoints):
        """The save is under way while the next steps change the weights in place."""

        def _agree(self) -> tuple[bool, list[bool]]:
            return not saved(tmp_path), [False]

    cpu = torch.device("cpu")
    losses, _ = train(cpu)
    with pytest.raises(KeyboardInterrupt):
        train(cpu, SaveOnce(tmp_path), StopAfter(8))
    assert train(cpu, Checkpoints(tmp_path))[0] == losses


# torch warns of the file that it could not write
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_takes_no_more_loses_no_earlier_checkpoint(tmp_path: Path) -> None:
    class Fill(Hook):
        def step(self, fit: Fit) -> None:
            if fit.step == 5:  # from here on, no file can grow beyond 1000 bytes
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))

    cpu = torch.device("cpu")
    losses, _ = train(cpu)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(CheckpointError, match=r"File too large.*go on with --resume"):
            train(cpu, Checkpoints(tmp_path, every_seconds=0), Fill())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert is_whole(saved(tmp_path)[-1])
    assert train(cpu, Checkpoints(tmp_path))[0] == losses


def test_sigterm_saves_the_step_under_way_and_is_no_failure(tmp_path: Path) -> None:
    class Terminate(Hook):
        def step(self, fit: Fit) -> None:
            if fit.step == 7:
                signal.raise_signal(signal.SIGTERM)

    cpu, before = torch.device("cpu"), signal.getsignal(signal.SIGTERM)
    losses, _ = train(cpu)
    with pytest.raises(Stopped, match="at step 8 of train, which is saved") as stopped:
        train(cpu, Checkpoints(tmp_path), Terminate())
    assert stopped.value.exit_code == 0
    assert signal.getsignal(signal.SIGTERM) is before
    assert train(cpu, Checkpoints(tmp_path))[0] == losses
