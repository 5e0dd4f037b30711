"""A stopped run goes on as if it had never stopped, and a damaged checkpoint is never trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.training.batches import Batches
from workstation.training.checkpoint import CheckpointError, Checkpoints, load, save
from workstation.training.loop import DivergedError, Fit, Hook, fit
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
    noisy = Batches((rows, rows.sum(dim=1, keepdim=True)), size=16, seed=0, augment=lambda x: x + 0.1 * torch.randn(3))
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


def test_the_comparison_notices_lost_optimizer_moments(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    losses, _ = train(cpu)
    stopped_after(9, tmp_path, cpu)
    newest = max(tmp_path.glob("*.pt"))
    state = load(newest)
    assert state is not None
    for moments in state["optimizer"]["state"].values():
        moments["exp_avg"].zero_()
    save(newest, state)
    assert train(cpu, Checkpoints(tmp_path))[0] != losses


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


@pytest.mark.parametrize("damage", ["flipped", "truncated", "without its checksum"])
def test_a_damaged_checkpoint_is_passed_over_loudly(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu = torch.device("cpu")
    losses, _ = train(cpu)
    stopped_after(10, tmp_path, cpu)
    newest = max(tmp_path.glob("*.pt"))
    spoil(newest, damage)
    assert train(cpu, Checkpoints(tmp_path))[0] == losses
    assert f"{newest} does not match its checksum" in capsys.readouterr().err


def test_when_no_checkpoint_is_whole_it_says_so_and_starts_nothing(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    stopped_after(9, tmp_path, cpu)
    for path in tmp_path.glob("*.pt"):
        spoil(path, "truncated")
    with pytest.raises(CheckpointError, match="whole"):
        train(cpu, Checkpoints(tmp_path))


def spoil(path: Path, damage: str) -> None:
    content = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.with_suffix(".sha256").unlink()


def test_the_two_newest_are_kept_and_nothing_half_written_is_left(tmp_path: Path) -> None:
    train(torch.device("cpu"), Checkpoints(tmp_path, every_seconds=0))
    names = {path.stem for path in tmp_path.iterdir()}
    assert names == {"train-000005-000003", "train-000006-000000"}
    assert len(list(tmp_path.iterdir())) == 4  # each with its checksum


def test_a_diverged_model_is_never_saved_over_a_good_one(tmp_path: Path) -> None:
    class Spoil(Hook):
        def step(self, fit: Fit) -> None:
            if fit.step == 7:
                next(fit.model.parameters()).data.fill_(torch.nan)

    with pytest.raises(DivergedError, match="at step 8, in epoch 3 of 6"):
        train(torch.device("cpu"), Checkpoints(tmp_path, every_seconds=0), Spoil())
    assert max(tmp_path.glob("*.pt")).stem == "train-000002-000001"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_loses_no_earlier_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "train-000001.pt"
    save(path, {"losses": [1.0]})
    # The name it writes under first leads to a device that is always full.
    (tmp_path / ".train-000001.pt.partial").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match="No space left"):
        save(path, {"losses": [2.0]})
    assert load(path) == {"losses": [1.0]}
