"""How fast the training code is on this machine's GPUs: pre-training, LoRA, chapters, many processes.

    python scripts/bench-gpu                                   every table
    python scripts/bench-gpu --only pretraining --preset 124m 8b
    python scripts/bench-gpu --dry-run                         no GPU: the same paths on a CPU, shapes shrunk, no speeds

Pre-training and DDP need Python 3.11, PyTorch 2.9 (Muon; PYTORCH_ALLOC_CONF) and NumPy, and nothing else; what the
other rows need besides, they say where it is not there. Each row has a process of its own, so that one's memory is not
another's.
Exit codes: 0 every row was measured, or said why it cannot be here; 1 one failed; 69 there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "src"))

import adaptation  # noqa: E402 - after the path
import chapters  # noqa: E402
import pretraining  # noqa: E402
import processes  # noqa: E402
import torch  # noqa: E402
from part import Part, Row  # noqa: E402

from workstation.errors import WorkstationError  # noqa: E402
from workstation.llm.memory import MemoryTooSmallError  # noqa: E402
from workstation.training import device  # noqa: E402

PARTS: dict[str, Part] = {
    "pretraining": pretraining.PART,
    "adaptation": adaptation.PART,
    "processes": processes.PART,
    "chapters": chapters.PART,
}

ALONE = ("--standalone", "--local-addr=127.0.0.1")  # a machine's own name need not lead to it


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--preset", nargs="+", choices=pretraining.MEASURED, help="of pretraining; default: all")
    parser.add_argument("--steps", type=int, default=5, help="of a stretch that is timed; default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, shrunk")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)  # PART ROW: what each process is told
    asked = parser.parse_args()
    if asked.row:
        part, row = asked.row
        measured = measure(PARTS[part], row, asked)
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(measured))
        return 0
    try:
        on = device.choose("cpu" if asked.dry_run else "cuda")
    except WorkstationError as error:
        print(f"bench-gpu: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{versions()}; {torch.cuda.device_count() or 'no'} GPU, {device.describe(on)}")
    if not asked.dry_run:
        print(f"A plain bfloat16 matmul reaches {pretraining.matmul() / 1e12:.0f}e12 operations a second.")
    failed = [table(name, asked) for name in asked.only]
    return 1 if any(failed) else 0


def measure(part: Part, row: str, asked: argparse.Namespace) -> Row:
    """Its cells; of a row that the GPU has not the memory for, the reason alone."""
    try:
        return part.measure(row, asked.steps, asked.dry_run)
    except MemoryTooSmallError as error:
        return {"why": str(error)}


def versions() -> str:
    """Without them no number can be compared with another's."""
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        said = []
    found = {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
        "driver": said[0] if said else None,
    }
    return ", ".join(f"{name} {version or 'none'}" for name, version in found.items())


def table(name: str, asked: argparse.Namespace) -> bool:
    """Print a part's table, row by row as they are measured; whether one failed."""
    part, failed = PARTS[name], False
    print(f"\n{part.title}\n\n| {' | '.join(part.columns)} |\n|{' ---: |' * len(part.columns)}", flush=True)
    for row in (asked.preset or part.rows) if name == "pretraining" else part.rows:
        why = part.missing(row, asked.dry_run)
        cells = {"why": why} if why else in_a_process(name, row, asked)
        failed |= cells is None
        cells = cells or {"why": "failed: what it said is above"}
        shown = [row, cells["why"]] if "why" in cells else [cells[column] for column in part.columns]
        print(f"| {' | '.join(shown)} |", flush=True)
    return failed


def in_a_process(name: str, row: str, asked: argparse.Namespace) -> Row | None:
    count = PARTS[name].processes(row, asked.dry_run)
    if asked.dry_run and count != 1:  # a job of one is started as it would be on a GPU
        return in_forks(name, row, asked.steps, count)
    run = [] if count is None else ["-m", "torch.distributed.run", *ALONE, f"--nproc-per-node={count}"]
    command = [sys.executable, *run, str(HERE), "--row", name, row, "--steps", str(asked.steps)]
    # Segments that can grow: large tensors of changing size leave no holes.
    environment = {**os.environ, "PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    ended = subprocess.run(
        command + ["--dry-run"] * asked.dry_run, stdout=subprocess.PIPE, text=True, env=environment, check=False
    )
    if ended.returncode:
        return None
    measured: Row = json.loads(ended.stdout.splitlines()[-1])
    return measured


def in_forks(name: str, row: str, steps: int, count: int | None) -> Row | None:
    """What is imported here need not be again, which would be most of a dry run. CUDA would not bear it."""
    fork = multiprocessing.get_context("fork")
    receive, send = fork.Pipe(duplex=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    def measure(rank: int) -> None:
        if count is not None:  # as torchrun would say
            place = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
            os.environ |= {key: str(value) for key, value in place.items()}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        measured = PARTS[name].measure(row, steps, True)
        if rank == 0:
            send.send(measured)

    ranks = [fork.Process(target=measure, args=(rank,)) for rank in range(count or 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    found: Row | None = None if any(process.exitcode for process in ranks) else receive.recv()
    return found


if __name__ == "__main__":
    sys.exit(main())
