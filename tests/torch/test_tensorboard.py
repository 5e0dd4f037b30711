"""The curves of a run, as TensorBoard's own reader finds them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

from workstation.training.loop import fit
from workstation.training.settings import Settings
from workstation.training.tensorboard import TensorBoardLog

EPOCHS = 3


def train(log: TensorBoardLog, name: str) -> list[float]:
    model, rows = nn.Linear(3, 1), torch.randn(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [(rows, rows[:, :1])]
    return fit(model, batches, F.mse_loss, optimizer, epochs=EPOCHS, settings=Settings(), hooks=[log], name=name)


def test_each_fit_of_a_run_keeps_its_curve(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    losses = {name: train(log, name) for name in ("network", "linear")}
    kept = EventAccumulator(str(tmp_path))
    kept.Reload()
    for name, curve in losses.items():
        points = kept.Scalars(f"{name}/loss")
        assert [point.step for point in points] == list(range(1, EPOCHS + 1))
        assert [point.value for point in points] == pytest.approx(curve)


def test_a_full_disk_costs_the_curve_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    monkeypatch.setattr(SummaryWriter, "close", full)
    assert len(train(TensorBoardLog(tmp_path), "network")) == EPOCHS
    said = f"workstation: no more curves for TensorBoard in {tmp_path}: No space left on device\n"
    assert capsys.readouterr().err == said
