"""`make bench-gpu` is ready for the day that a GPU is there: every row's code runs, shrunk, on this machine's CPU."""

from __future__ import annotations

import re
from pathlib import Path

from lab import run

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = {str(ROOT): {"bind": "/repo", "mode": "ro"}}


def bench(image: str, *arguments: str) -> tuple[int, str]:
    one = {"OMP_NUM_THREADS": "1"}  # shapes this small are not worth a second thread
    command = ("python", "/repo/scripts/bench-gpu", *arguments)
    ended = run(image, *command, environment=one, volumes=CHECKOUT, shm_size="1g")
    return ended.code, ended.output


def test_every_row_of_the_gpu_benchmark_runs_without_a_gpu_and_what_it_trains_learns(image: str) -> None:
    code, output = bench(image, "--dry-run", "--steps", "2")
    assert code == 0, output
    assert re.match(r"Python 3[\d.]+, torch 2\S+, CUDA \S+, cuDNN \S+, driver \S+; ", output), output
    rows = [line for line in output.splitlines() if "dry run" in line]
    assert len(rows) == 14, output
    losses = re.findall(r"([0-9.]+) → ([0-9.]+)", output)
    assert len(losses) == 7, output
    assert all(float(last) < float(first) for first, last in losses), output


def test_a_row_that_fails_is_named_and_fails_the_benchmark(image: str) -> None:
    code, output = bench(image, "--dry-run", "--only", "pretraining", "--preset", "124m", "--steps", "0")
    assert code == 1
    assert "| 124m | failed: what it said is above |" in output


def test_without_a_gpu_the_benchmark_says_so(image: str) -> None:
    code, output = bench(image)
    assert code == 69
    assert output.startswith("bench-gpu: "), output
