"""Real processes that meet as torchrun's would, forked from a server that has imported torch once: a tenth of a second
each, where a new Python takes two."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from workstation.errors import WorkstationError
from workstation.training import distributed

SECONDS = 60  # for a whole job; a hang is a failure, not a wait

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["torch._dynamo", "workstation.training.checkpoint", "torch.distributed.fsdp"])


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORKSTATION_PEER_TIMEOUT": "20",
    }


def together(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work` returns on each of `size` ranks, or the words of the WorkstationError that ended it there."""
    port = free_port()
    with ProcessPoolExecutor(size, mp_context=context) as pool:
        running = [pool.submit(_as_rank, environment(rank, size, port), work, arguments) for rank in range(size)]
        return [each.result(SECONDS) for each in running]


def _as_rank(variables: dict[str, str], work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    os.environ |= variables
    try:
        with distributed.joined("cpu"):
            return work(*arguments)
    except WorkstationError as error:
        return str(error)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stopped(job: subprocess.Popen[str], out: Path, deadline_s: float = 120) -> tuple[str, float]:
    """SIGTERM to a run once its first fit has begun in `out`: what it says on standard error, seconds to its end."""
    deadline = time.monotonic() + deadline_s
    while not list(out.glob("events.*")):
        assert job.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    told = time.monotonic()
    _, said = job.communicate(timeout=60)
    return said, time.monotonic() - told
