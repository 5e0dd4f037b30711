"""`workstation examples run` under torchrun, and told to stop by whoever owns the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import stopped

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


LEAVER = """
from pathlib import Path
import torch
from torch.nn.parallel import DistributedDataParallel
from workstation.training import distributed

with distributed.joined("cpu"):
    model = DistributedDataParallel(torch.nn.Linear(4, 4))
    model(torch.randn(2, 4)).sum().backward()
    del model
tasks = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
print("left:", *[task for task in tasks if "gloo" in task])
"""


@pytest.mark.slow
def test_no_thread_of_the_job_outlives_it(tmp_path: Path) -> None:
    """One that does can abort the process on its way out: exit code -6 after a run that had succeeded."""
    (tmp_path / "leave.py").write_text(LEAVER)
    command = [sys.executable, *TORCHRUN, str(tmp_path / "leave.py")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("left:") == 2
    assert "gloo" not in ran.stdout


LAST_WORDS = """
import atexit, sys
from workstation.cli import main

class Kept:
    def __del__(self, write=sys.stdout.write):
        write("taken down ")

sys.modules["kept"] = Kept()  # goes with the modules, after everything else
atexit.register(print, "exit handler", end=" ")
sys.argv = ["workstation", "examples", "run", "no such chapter"]
main()
"""


@pytest.mark.parametrize(("rank", "said"), [({"RANK": "0"}, "exit handler"), ({}, "exit handler taken down")])
def test_a_process_of_a_job_ends_with_its_own_code_but_is_not_taken_down(rank: dict[str, str], said: str) -> None:
    """FSDP2's caches keep the job's threads, and those must not meet a Python that is half gone."""
    command = [sys.executable, "-c", LAST_WORDS]
    ran = subprocess.run(command, env=os.environ | rank, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2, ran.stderr
    assert ran.stdout.split() == said.split()


def test_sigterm_is_no_failure_and_the_run_goes_on_from_there(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, *WORKSTATION, "cnn", "--epochs", "1000", "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        said, seconds = stopped(running, out)
    assert running.returncode == 0
    assert seconds < 30
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
