"""Directories that must be written to: how much room there is, and what may be done there."""

from __future__ import annotations

import errno
import getpass
import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A directory, or the nearest one above it that exists: that is where it would be made."""

    path: Path
    free_bytes: int  # 0 where a quota or the last inode is used up, too
    writable: bool  # may this user write there; a full disk changes nothing about that
    executable: bool  # may a file there be loaded as code; False where that could not be tried

    @property
    def takes_files(self) -> bool:
        return self.writable and self.free_bytes > 0


@dataclass(frozen=True)
class Places:
    """Where a session writes."""

    home: Place
    temporary: Place
    inductor_cache: Place
    triton_cache: Place


def places(environ: Mapping[str, str]) -> Places:
    """The directories torch itself would choose (torch._inductor.runtime.cache_dir_utils)."""
    temporary = _temporary()
    inductor = Path(environ.get("TORCHINDUCTOR_CACHE_DIR") or temporary / f"torchinductor_{_user()}")
    triton = Path(environ.get("TRITON_CACHE_DIR") or inductor / "triton")
    return Places(look(_home()), look(temporary), look(inductor), look(triton))


def look(path: Path) -> Place:
    """Try it: write a file there and map it as code, which is what loading a compiled kernel does."""
    existing = next((folder for folder in (path, *path.absolute().parents) if is_directory(folder)), Path("/"))
    file_system = os.statvfs(existing)
    free_bytes = file_system.f_bavail * file_system.f_frsize
    writable = executable = False
    try:
        with tempfile.TemporaryFile(dir=existing) as trial:
            trial.write(b"\0")
            trial.flush()
            writable = True
            # refused on a file system mounted noexec, Docker's --tmpfs by default
            mmap.mmap(trial.fileno(), 1, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
            executable = True
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            writable, free_bytes = True, 0
    return Place(path, free_bytes, writable, executable)


def is_directory(path: Path) -> bool:
    """Path.is_dir() raises where a folder above may not be entered."""
    return os.path.isdir(path)  # noqa: PTH112


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # none can be written
        return Path("/tmp")


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor a passwd entry
        return Path("/")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no passwd entry
        return f"uid_{os.getuid()}"
