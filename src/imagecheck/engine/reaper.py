"""Labels on all that a run makes, so that the next run can clear up after one that was killed."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import docker
from docker.errors import APIError, NotFound

RUN, HOST, PROCESS, EXPIRES, KEPT = (f"org.imagecheck.{word}" for word in ("run", "host", "process", "expires", "kept"))
LIFETIME = 2 * 60 * 60  # seconds; a run that is still going after this has lost its way


def labels(run: str, *, kept: bool) -> dict[str, str]:
    """The labels of everything the run named `run` makes."""
    mine = {
        RUN: run,
        HOST: socket.gethostname(),
        PROCESS: process_identity(os.getpid()),
        EXPIRES: str(int(time.time()) + LIFETIME),
    }
    return mine | ({KEPT: "yes"} if kept else {})


def process_identity(pid: int) -> str:
    """`pid:start time`, for a pid alone may have been given to someone else. Empty where the process has gone."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{pid}:{after_name[19]}"


def is_orphan(labelled: Mapping[str, str], *, host: str, now: float) -> bool:
    """Whether the run that made this has ended without clearing up. What was kept on purpose never is."""
    if KEPT in labelled:
        return False
    if now > float(labelled.get(EXPIRES, "0")):
        return True
    if labelled.get(HOST) != host:  # another machine's run on a shared engine: only its expiry tells
        return False
    identity = labelled.get(PROCESS, "")
    return process_identity(int(identity.partition(":")[0] or 0)) != identity


def reap(client: docker.DockerClient) -> list[str]:
    """Remove the containers, networks and volumes of runs that were killed. Returns what was removed."""
    host, now = socket.gethostname(), time.time()
    removed: list[str] = []
    query: dict[str, str | list[str] | bool] = {"label": RUN}
    for container in client.containers.list(all=True, filters=query, ignore_removed=True):
        if is_orphan(container.labels, host=host, now=now):
            removed.append(f"container {container.name}")
            _gone(partial(container.remove, force=True, v=True))
    for network in client.networks.list(filters=query):
        if is_orphan(network.attrs.get("Labels") or {}, host=host, now=now):
            removed.append(f"network {network.name}")
            _gone(network.remove)
    for volume in client.volumes.list(filters=query):
        if is_orphan(volume.attrs.get("Labels") or {}, host=host, now=now):
            removed.append(f"volume {volume.name}")
            _gone(partial(volume.remove, force=True))
    return removed


def _gone(remove: Callable[[], object]) -> None:
    """Remove; two runs may clear up the same thing at once, and then one of them comes too late."""
    try:
        remove()
    except (NotFound, APIError):
        return
