"""What the control group allows this process: CPU quota and memory, under cgroup v1, v2 and the hybrid of both.

torch and OpenMP look at the host's CPUs: under `docker run --cpus 2` on a host with 64, they start 64 threads that the
kernel then throttles. Every gatherer takes the root of the file system, so that a made-up tree can be read as well.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path("/")


def cpu_quota(root: Path = ROOT) -> float | None:
    """CPUs the group may use at once (`--cpus 1.5` gives 1.5); None where it has no quota."""
    return _smallest(_cpu_limits(root))


def memory_limit(root: Path = ROOT) -> int | None:
    """Bytes the group may use before the kernel kills it; None where the machine's own memory is the limit."""
    limit = _smallest(_memory_limits(root))
    return None if limit is None else int(limit)


def usable_cpus(root: Path = ROOT) -> int:
    """How many threads can run at once: the CPU mask and the quota together, at least 1.

    A quota is rounded up, as the JVM, .NET and Go do: two threads under 1.5 CPUs do more work than one.
    """
    mask = len(os.sched_getaffinity(0))
    quota = cpu_quota(root)
    return mask if quota is None else max(1, min(mask, math.ceil(quota)))


def _cpu_limits(root: Path) -> Iterator[float | None]:
    for group in _groups(root, "cpu"):
        yield _read(group / "cpu.max", _cpu_max)
        quota = _read(group / "cpu.cfs_quota_us", float)
        period = _read(group / "cpu.cfs_period_us", float)
        if quota and period and quota > 0:  # -1: no quota
            yield quota / period


def _memory_limits(root: Path) -> Iterator[float | None]:
    total = memory_total(root)
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _read(group / name, _bytes)
            # cgroup v1 spells "no limit" as the largest page-aligned integer
            if limit is not None and (total is None or limit < total):
                yield limit


def memory_total(root: Path = ROOT) -> int | None:
    """Bytes of memory the machine has; None where /proc does not say."""
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024  # "MemTotal:  24684096 kB"
    return None


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """This process's group for `controller` and those above it, as far up as is mounted: the tightest one rules."""
    memberships = _memberships(root)
    for kind, mount_root, mount_point, options in _mounts(root):
        if kind == "cgroup2":
            path = memberships.get("")
        elif controller in options.split(","):
            path = memberships.get(controller)
        else:
            continue
        top = root / mount_point.lstrip("/")
        yield top
        below = _below(path or "/", mount_root)
        for depth in range(1, len(below) + 1):
            yield top.joinpath(*below[:depth])


def _below(path: str, mount_root: str) -> tuple[str, ...]:
    """The group's path inside the mount; empty when the mount shows this very group, as in a container."""
    try:
        below = Path(path).relative_to(mount_root).parts
    except ValueError:  # a path outside the mount: another cgroup namespace made it
        return ()
    return () if ".." in below else below


def _memberships(root: Path) -> dict[str, str]:
    """Controller -> path from /proc/self/cgroup; "" is the unified (v2) hierarchy."""
    paths: dict[str, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _mounts(root: Path) -> Iterator[tuple[str, str, str, str]]:
    """(type, root, mount point, super options) of each cgroup mount, from /proc/self/mountinfo (proc(5))."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        mount, file_system = before.split(), after.split()
        if file_system and file_system[0] in ("cgroup", "cgroup2"):
            yield file_system[0], mount[3], mount[4], file_system[-1]


def _cpu_max(text: str) -> float | None:
    quota, period = text.split()
    return None if quota == "max" else float(quota) / float(period)


def _bytes(text: str) -> float | None:
    return None if text == "max" else float(text)


def _read(path: Path, parse: Callable[[str], float | None]) -> float | None:
    try:
        return parse(path.read_text().strip())
    except (OSError, ValueError):
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _smallest(limits: Iterator[float | None]) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)
