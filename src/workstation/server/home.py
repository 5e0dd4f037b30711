"""Whether this user can work in the home: asked before anything is written, answered with the option that mends it."""

from __future__ import annotations

import os
from pathlib import Path

from workstation.doctor.place import is_directory
from workstation.errors import HomeError

# What the server and its kernels write to. One made by another user would end in Jupyter's traceback instead.
WRITTEN_TO = ("", ".config/workstation", ".ipython", ".jupyter", ".local/share/jupyter")

UNMAPPED = 65534  # "nobody": whom a user namespace shows for an owner it does not know


def check(home: Path) -> None:
    """Raises HomeError where the home, or what Jupyter keeps in it, is not there or not this user's to write."""
    if not is_directory(home):
        raise HomeError(f"the home {home} is not there", remedy=f"Mount a volume: -v workstation-home:{home}")
    for path in (home / name for name in WRITTEN_TO):
        directory = next(there for there in (path, *path.parents) if is_directory(there))
        if not os.access(directory, os.W_OK | os.X_OK):
            raise _refusal(directory, home)


def _refusal(directory: Path, home: Path) -> HomeError:
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return HomeError(
            f"{directory} is read-only",
            remedy=f"Give it a place to write: --tmpfs {directory}:mode=1777, or -v workstation-home:{directory}",
        )
    there, user = directory.stat(), f"{os.getuid()}:{os.getgid()}"
    owner = f"{there.st_uid}:{there.st_gid}"
    return HomeError(
        f"{directory} belongs to {owner} (mode {there.st_mode & 0o7777:o}) and cannot be written by {user}",
        remedy=_remedy(there, owner, user, home),
    )


def _remedy(there: os.stat_result, owner: str, user: str, home: Path) -> str:
    if _mode_allows(there):
        return f"Its mode would allow it; if the host has SELinux, mount it with -v DIRECTORY:{home}:Z"
    if there.st_uid == UNMAPPED:
        return f"Hand it over on the host: chown -R, with rootless Podman: podman unshare chown -R {user} DIRECTORY"
    return (
        f"Run with --user {owner}, or hand the volume over once:"
        f" docker run --user 0 -v VOLUME:{home} IMAGE chown -R {user} {home}"
    )


def _mode_allows(there: os.stat_result) -> bool:
    if os.getuid() == there.st_uid:
        bits = there.st_mode >> 6
    elif there.st_gid in (os.getgid(), *os.getgroups()):
        bits = there.st_mode >> 3
    else:
        bits = there.st_mode
    return bits & 0o3 == 0o3
