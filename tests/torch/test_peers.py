"""Who is slow is waited for, who is silent is not: a rank that is at work says so."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path

import processes
import pytest
import torch
from processes import together
from torch import nn
from torch.nn import functional as F

from workstation.training import distributed, sealed
from workstation.training.checkpoint import Checkpoints
from workstation.training.loop import Fit, Hook, fit
from workstation.training.settings import Settings

PATIENCE = 4  # seconds until a silent peer counts as lost
LONGER = 6
SILENT = 24  # more than it takes to notice, even with a save to wait for


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    usual: Callable[..., dict[str, str]] = processes.environment
    patience = {"WORKSTATION_PEER_TIMEOUT": str(PATIENCE)}
    monkeypatch.setattr(processes, "environment", lambda *place: usual(*place) | patience)


def train(*hooks: Hook) -> int:
    """How many epochs it had."""
    rows = torch.randn(8, 3)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters())
    return len(fit(model, [(rows, rows[:, :1])] * 3, F.mse_loss, optimizer, epochs=2, settings=Settings(), hooks=hooks))


@pytest.mark.slow
def test_what_rank_0_does_alone_may_take_longer() -> None:
    assert together(2, distributed.from_first, slow) == ["made", "made"]


def slow() -> str:
    time.sleep(LONGER)
    return "made"


@pytest.mark.slow
def test_writing_and_checking_a_checkpoint_may_take_longer(tmp_path: Path) -> None:
    assert together(2, train_with_slow_checksums, tmp_path) == [2, 2]
    assert together(2, train_with_slow_checksums, tmp_path) == [2, 2]


def train_with_slow_checksums(directory: Path) -> int:
    usual = sealed._sha256

    def slowly(path: Path) -> str:
        time.sleep(LONGER)
        return usual(path)

    if distributed.rank() == 1 or list(directory.glob("train-*")):
        sealed._sha256 = slowly
    return train(Checkpoints(directory))


@pytest.mark.slow
@pytest.mark.parametrize("saving", [False, True], ids=["in a step", "in a save"])
def test_a_silent_peer_is_left_behind(tmp_path: Path, saving: bool) -> None:
    said, _ = together(2, fall_silent, tmp_path, saving)
    assert said.startswith("rank 0 lost a peer: ")
    assert float((tmp_path / "seconds").read_text()) < SILENT - PATIENCE


def fall_silent(directory: Path, saving: bool) -> None:
    """Rank 1 says nothing more after its first step, and its part of that step's checkpoint is not written either."""

    class Silent(Hook):
        def step(self, fit: Fit) -> None:
            if fit.step == 1 and distributed.rank() == 1:
                time.sleep(SILENT)

    if distributed.rank() == 1:
        usual = sealed.Writer.write_data
        sealed.Writer.write_data = lambda *arguments: (time.sleep(SILENT), usual(*arguments))[1]
    began = time.monotonic()
    try:
        train(Checkpoints(directory, every_seconds=0 if saving else 1000), Silent())
    finally:
        if distributed.rank() == 0:
            (directory / "seconds").write_text(str(time.monotonic() - began))


# torch warns of the file that it could not write
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_where_one_ranks_disk_takes_no_more_all_say_whose(tmp_path: Path) -> None:
    said = together(2, train_until_full, tmp_path)
    assert all(words.startswith(f"rank 1 could not save to {tmp_path}: ") for words in said), said
    (left,) = tmp_path.glob("train-*")
    assert sealed.is_whole(left)


def train_until_full(directory: Path) -> None:
    class Fill(Hook):
        def step(self, fit: Fit) -> None:
            if fit.step == 2 and distributed.rank() == 1:  # no file of its can grow beyond 100 bytes
                resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))

    train(Checkpoints(directory, every_seconds=0), Fill())
