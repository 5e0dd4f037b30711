"""`torchrun --standalone`, with nothing set but what the image sets: a worker dies, or the machine is taken away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from processes import stopped

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
STEPS, DIES_AT, SECONDS = 7, 4, 120

JOB = f"""
import os, signal, sys, time
from pathlib import Path
import torch
from workstation.training import distributed
from workstation.training.checkpoint import Checkpoints
from workstation.training.loop import Hook, fit
from workstation.training.settings import Settings

class Die(Hook):
    def step(self, fit):
        if first_try and fit.step == {DIES_AT} and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

class Note(Hook):
    def start(self, fit):
        if distributed.rank() == 0:
            with Path(sys.argv[1], "starts").open("a") as file:
                print(fit.step, file=file)

first_try = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
came = Path(sys.argv[1], "came")
if not first_try and os.environ["RANK"] == "0":
    came.touch()
elif not first_try:  # rank 0 is there first, and must not take the dead rank 1 for this one
    while not came.exists():
        time.sleep(0.05)
    time.sleep(2)
with distributed.joined("cpu"):
    model, x = torch.nn.Linear(4, 1), torch.ones(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    hooks = [Checkpoints(Path(sys.argv[1]), every_seconds=0), Die(), Note()]
    batches, loss = {STEPS} * [(x, x[:, :1])], torch.nn.functional.mse_loss
    fit(model, batches, loss, optimizer, epochs=1, settings=Settings(), hooks=hooks)
"""


def test_a_job_whose_worker_is_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB)
    command = [*TORCHRUN, "--nproc-per-node", "2", "--max-restarts", "1", tmp_path / "job.py", tmp_path]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as job:
        try:
            _, said = job.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            job.terminate()  # and its workers, of which one waits for the other
            _, said = job.communicate()
            raise AssertionError(f"not at its end after {SECONDS} s: {said}") from None
    assert job.returncode == 0, said
    first, second = map(int, (tmp_path / "starts").read_text().split())
    assert first == 0
    assert DIES_AT - 1 <= second <= DIES_AT, "the save under way when the worker died may be lost, the one before not"


def test_all_processes_have_saved_and_ended_within_30_seconds_when_torchrun_is_told_to_stop(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [*TORCHRUN, "--nproc-per-node", "2", "-m", "workstation", "examples", "run", "cnn", "--epochs", "1000"]
    with subprocess.Popen([*command, "--out", out], stderr=subprocess.PIPE, text=True) as job:
        said, seconds = stopped(job, out)
    assert seconds < 30
    assert said.count("of cnn, which is saved") == 2
    assert len(list(out.glob("cnn-*"))) == 1
    assert not list(out.glob(".*.partial"))
