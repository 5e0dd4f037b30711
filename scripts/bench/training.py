"""Does training pay for the container? And what do two processes gain over one?"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine import IMAGE, RECIPES, output
from measured import Promise, Section

PATH = "PATH=/opt/venv/bin:/usr/sbin:/usr/bin:/bin"
TRAINING, SCALING = RECIPES / "training.py", RECIPES / "scaling.py"
# Processes and threads of each: as many threads as cores either way, and one thread alone to compare with.
LAYOUTS = ((1, 1), (1, 2), (2, 1))
WORKLOADS = {"llm": ("tiny language model", 8), "cnn": ("digits' ConvNet", 64)}


@contextmanager
def bare_root() -> Iterator[str]:
    """The image's files as a root to chroot into: the same torch in no container, without limits or variables."""
    container = output("docker", "run", "--detach", "--user", "0", "--entrypoint", "sleep", IMAGE, "infinity")
    try:
        output("docker", "cp", "--quiet", str(TRAINING), f"{container}:/training.py")
        yield f"/proc/{output('docker', 'inspect', '--format', '{{.State.Pid}}', container)}/root"
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=True, capture_output=True)


def measure_training(count: int) -> Section:
    """Needs root, for the chroot."""
    mounted = ("--volume", f"{TRAINING}:/training.py:ro", "--entrypoint", "python", IMAGE, "/training.py")
    with bare_root() as root:
        timed = [
            (
                json.loads(output("docker", "run", "--rm", *mounted)),
                json.loads(output("env", "--ignore-environment", PATH, "chroot", root, "python3", "/training.py")),
            )
            for _ in range(count)
        ]
    ratios = sorted(ours["seconds"] / bare["seconds"] for ours, bare in timed)
    ratio = statistics.median(ratios)
    table = [f"| 200 steps of a ConvNet, {timed[0][0]['threads']} threads | torch | median s |", "| --- | --- | ---: |"]
    for name, runs in zip(
        ("in the image, `docker run`", "the same venv in no container"), zip(*timed, strict=True), strict=True
    ):
        table.append(f"| {name} | {runs[0]['torch']} | {statistics.median(run['seconds'] for run in runs):.2f} |")
    table.append(f"| the one ÷ the other, {count} pairs: from {ratios[0]:.3f} to {ratios[-1]:.3f} | | {ratio:.3f} |")
    return Section("Training", table, [Promise("training ÷ in no container", f"{ratio:.3f}", "≤ 1.03", ratio <= 1.03)])


def measure_scaling(count: int) -> Section:
    """DDP over gloo; the batch is the same, each process takes its share of it."""
    table = ["| model | processes × threads | ms a step | ÷ one thread | efficiency | exchange |"]
    table += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    for workload, (name, rows) in WORKLOADS.items():
        # In turn, so that a busy minute of the machine falls on all.
        runs = [[scaled(workload, rows, *layout) for layout in LAYOUTS] for _ in range(count)]
        alone = [row[0]["seconds"] for row in runs]
        for (processes, threads), column in zip(LAYOUTS, zip(*runs, strict=True), strict=True):
            seconds = [run["seconds"] for run in column]
            gain = statistics.median(one / ours for one, ours in zip(alone, seconds, strict=True))
            exchange = statistics.median(run["exchange"] for run in column) if processes > 1 else 0
            efficiency = gain / (processes * threads)
            table.append(
                f"| {name}, {column[0]['parameters'] / 1e6:.2f} M | {processes} × {threads} | "
                f"{1000 * statistics.median(seconds):.1f} | {gain:.2f} | {efficiency:.0%} | {exchange:.0%} |"
            )
    return Section(f"Scaling over the {os.cpu_count()} cores", table, [])


def scaled(workload: str, rows: int, processes: int, threads: int) -> dict[str, Any]:
    command = ["docker", "run", "--rm", "--network", "none", "--shm-size=1g", "--env", f"OMP_NUM_THREADS={threads}"]
    command += ["--volume", f"{SCALING}:/scaling.py:ro", "--entrypoint", "torchrun", IMAGE, "--standalone"]
    command += ["--local-addr=127.0.0.1", f"--nproc-per-node={processes}", "/scaling.py", workload]
    report: dict[str, Any] = json.loads(output(*command, str(rows // processes)).splitlines()[-1])
    return report
