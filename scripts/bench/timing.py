"""Seconds of two things, timed in turn, and the median of their pairwise ratio."""

from __future__ import annotations

import statistics
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from engine import IMAGE, NAIVE, image_exists, output
from measured import Promise, Section

ANSWER_DEADLINE_S = 120


def seconds_to_answer(*command: str) -> float:
    """From `docker run` to the first answer of /api."""
    before = time.monotonic()
    container = output("docker", "run", "--detach", "--publish", "127.0.0.1::8888", "--shm-size=1g", *command)
    try:
        address = output("docker", "port", container, "8888/tcp").splitlines()[0]
        while time.monotonic() - before < ANSWER_DEADLINE_S:
            try:
                with urllib.request.urlopen(f"http://{address}/api", timeout=5):
                    return time.monotonic() - before
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise TimeoutError(f"/api did not answer within {ANSWER_DEADLINE_S} s: {output('docker', 'logs', container)}")
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", container], check=True, capture_output=True)


def seconds_to_run(*command: str) -> float:
    before = time.monotonic()
    subprocess.run(["docker", "run", "--rm", *command], check=True, capture_output=True)
    return time.monotonic() - before


def pairs(first: Callable[[], float], second: Callable[[], float], count: int) -> tuple[float, float, float]:
    """Medians of both, and of their pairwise ratio, after one warm-up of each."""
    first(), second()
    timed = [(first(), second()) for _ in range(count)]
    a, b = zip(*timed, strict=True)
    return statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in timed)


def measure_start(count: int) -> Section:
    bare = ("--entrypoint", "jupyter-lab", IMAGE, "--ip=0.0.0.0", "--no-browser", "--config=/nonexistent")
    ours, plain, ratio = pairs(lambda: seconds_to_answer(IMAGE), lambda: seconds_to_answer(*bare), count)
    naive = statistics.median(seconds_to_answer(NAIVE) for _ in range(count)) if image_exists(NAIVE) else None
    table = ["| `docker run` → /api answers | median s |", "| --- | ---: |"]
    table += [f"| the image | {ours:.2f} |", f"| `jupyter lab` bare, same venv | {plain:.2f} |"]
    table += [f"| the naive recipe | {naive:.2f} |"] if naive else []
    return Section("Start", table, [Promise("start ÷ bare `jupyter lab`", f"{ratio:.2f}", "≤ 1.3", ratio <= 1.3)])


def measure_import(count: int) -> Section:
    python = ("--entrypoint", "python", IMAGE)
    without = ("--env", "PYTHONDONTWRITEBYTECODE=1", *python, "-X", "pycache_prefix=/nonexistent")
    compiled, source, ratio = pairs(
        lambda: seconds_to_run(*python, "-c", "import torch"),
        lambda: seconds_to_run(*without, "-c", "import torch"),
        count,
    )
    table = ["| fresh container, `import torch` | median s |", "| --- | ---: |"]
    table += [f"| with the image's .pyc | {compiled:.2f} |", f"| with every .pyc out of sight | {source:.2f} |"]
    return Section("Import", table, [Promise("`import torch` ÷ without .pyc", f"{ratio:.2f}", "≤ 0.8", ratio <= 0.8)])
