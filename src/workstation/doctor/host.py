"""The facts that can be had in milliseconds, without torch: what the server prints at start is judged from these."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workstation.doctor import cgroup
from workstation.doctor.container import Engine, engine
from workstation.doctor.graphics import Graphics, graphics
from workstation.doctor.installed import Installed, installed
from workstation.doctor.place import Places, places

ROOT = Path("/")


@dataclass(frozen=True)
class Interpreter:
    version: str
    path: Path
    on_path: Path | None  # the `python` that a shell or a kernel would start


@dataclass(frozen=True)
class Memory:
    usable_bytes: int  # the machine's, or the group's limit where that is less
    limited: bool


@dataclass(frozen=True)
class Cpus:
    usable: int
    quota: float | None
    threads: str | None  # OMP_NUM_THREADS


@dataclass(frozen=True)
class Host:
    """Plain facts; nothing here is judged."""

    interpreter: Interpreter
    installed: Installed
    graphics: Graphics
    engine: Engine | None
    cuda_visible_devices: str | None
    nvidia_visible_devices: str | None
    nvidia_driver_capabilities: str | None
    shm_bytes: int
    memory: Memory
    cpus: Cpus
    places: Places
    working_directory: Path | None  # None: it was deleted
    working_directory_open: bool  # may this user enter it


def inspect_host(root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> Host:
    """Gather them. `root` replaces /proc, /sys, /dev and /run by those of a made-up tree."""
    directory = _working_directory()
    return Host(
        interpreter=_interpreter(environ),
        installed=installed(),
        graphics=graphics(root),
        engine=engine(root, environ),
        cuda_visible_devices=environ.get("CUDA_VISIBLE_DEVICES"),
        nvidia_visible_devices=environ.get("NVIDIA_VISIBLE_DEVICES"),
        nvidia_driver_capabilities=environ.get("NVIDIA_DRIVER_CAPABILITIES"),
        shm_bytes=_size(root / "dev/shm"),
        memory=_memory(root),
        cpus=Cpus(cgroup.usable_cpus(root), cgroup.cpu_quota(root), environ.get("OMP_NUM_THREADS")),
        places=places(environ),
        working_directory=directory,
        working_directory_open=directory is not None and os.access(directory, os.X_OK),
    )


def _interpreter(environ: Mapping[str, str]) -> Interpreter:
    found = shutil.which("python", path=environ.get("PATH"))
    return Interpreter(platform.python_version(), Path(sys.executable), Path(found) if found else None)


def _memory(root: Path) -> Memory:
    limit = cgroup.memory_limit(root)
    return Memory(cgroup.memory_total(root) or 0, limited=False) if limit is None else Memory(limit, limited=True)


def _size(mount: Path) -> int:
    try:
        file_system = os.statvfs(mount)
    except OSError:
        return 0
    return file_system.f_blocks * file_system.f_frsize


def _working_directory() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None
