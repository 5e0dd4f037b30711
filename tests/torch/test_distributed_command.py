"""`workstation examples run` under torchrun, and told to stop by whoever owns the machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workstation.errors import SettingError
from workstation.examples.catalog import chapter
from workstation.examples.session import Session
from workstation.training.settings import Settings

WORKSTATION = ["-m", "workstation", "examples", "run"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]


@pytest.mark.slow
def test_torchrun_runs_an_example_once_on_all_its_processes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, *TORCHRUN, *WORKSTATION, "house_price", "--json", "--out", str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)  # of rank 0 alone
    assert report["processes"] == 2
    assert report["holds"]
    assert json.loads((out / "metrics.json").read_text()) == report
    assert len(list(out.glob("events.*"))) == len(list(out.glob("house_price-*"))) == 1


def test_sigterm_is_no_failure_and_the_run_goes_on_from_there(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, *WORKSTATION, "cnn", "--epochs", "1000", "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 120
        while not list(out.glob("events.*")):  # the first fit has begun
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        told = time.monotonic()
        _, said = running.communicate(timeout=60)
    assert running.returncode == 0
    assert time.monotonic() - told < 30
    assert "of cnn, which is saved. Go on with --resume" in said
    assert len(list(out.glob("cnn-*"))) == 1


def begin(out: Path, **chosen: int) -> Session:
    return Session.new(chapter("cnn"), Settings(**chosen), out)


def test_a_run_that_torchrun_starts_again_goes_on_in_its_own_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    first = begin(tmp_path / "run", seed=3)
    (first.directory / "cnn-000001-000000").mkdir()
    assert begin(tmp_path / "run", seed=3).directory == first.directory
    with pytest.raises(SettingError, match="not empty"):
        begin(tmp_path / "run", seed=4)


def test_without_torchrun_a_directory_that_is_taken_stays_taken(tmp_path: Path) -> None:
    assert "TORCHELASTIC_RUN_ID" not in os.environ
    begin(tmp_path / "run")
    with pytest.raises(SettingError, match="not empty"):
        begin(tmp_path / "run")
