"""Whether this user can work in the home: asked before anything is written, answered with the option that mends it."""

from __future__ import annotations

import os
from pathlib import Path

from workstation.errors import HomeError

# What the server and its kernels write to. One made by another user would end in Jupyter's traceback instead.
WRITTEN_TO = ("", ".config/workstation", ".ipython", ".jupyter", ".local/share/jupyter")


def check(home: Path) -> None:
    """Raises HomeError where the home, or what Jupyter keeps in it, is not there or not this user's to write."""
    if not home.is_dir():
        raise HomeError(f"the home {home} is not there", remedy=f"Mount a volume: -v workstation-home:{home}")
    for path in (home / name for name in WRITTEN_TO):
        directory = next(there for there in (path, *path.parents) if there.is_dir())
        if not os.access(directory, os.W_OK | os.X_OK):
            raise _refusal(directory, home)


def _refusal(directory: Path, home: Path) -> HomeError:
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return HomeError(
            f"{directory} is read-only",
            remedy=f"Give it a place to write: --tmpfs {directory}:mode=1777, or -v workstation-home:{directory}",
        )
    owner, user = directory.stat(), f"{os.getuid()}:{os.getgid()}"
    return HomeError(
        f"{directory} belongs to {owner.st_uid}:{owner.st_gid} (mode {owner.st_mode & 0o7777:o})"
        f" and cannot be written by {user}",
        remedy=f"Run with --user {owner.st_uid}:{owner.st_gid}, or hand the volume over once:"
        f" docker run --user 0 -v VOLUME:{home} IMAGE chown -R {user} {home}",
    )
