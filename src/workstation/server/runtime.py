"""What one run of the server leaves for the health check: Jupyter's own record, and how many GPUs there were.

It lies in /tmp, not in the home: a volume outlives the container, and its records would speak of servers long gone.
Nor in $TMPDIR: the kernels' sockets lie there too, and a socket's path may have 107 characters.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from workstation.errors import WorkstationError

PARENT = Path("/tmp")
PREFIX = f"workstation-{os.getuid()}-"
GPU_COUNT = "gpu-count"


class TemporaryDirectoryError(WorkstationError):
    """There is no place for what lives as long as the container."""

    exit_code = 73


def make(gpu_count: int, parent: Path = PARENT) -> Path:
    """A fresh directory of mode 0700 for JUPYTER_RUNTIME_DIR. Raises TemporaryDirectoryError.

    The earlier ones stay: another Lab of this user may live in one, where containers share the host's /tmp.
    """
    try:
        last = newest(parent)
        directory = parent / f"{PREFIX}{_number(last) + 1 if last else 1}-{os.urandom(4).hex()}"
        directory.mkdir(mode=0o700)
        (directory / GPU_COUNT).write_text(str(gpu_count))
    except OSError as error:
        raise TemporaryDirectoryError(
            f"{parent} cannot be written: {error.strerror}", remedy=f"Give it a place to write: --tmpfs {parent}:exec"
        ) from error
    return directory


def newest(parent: Path = PARENT) -> Path | None:
    """The directory of this user's latest start; None before the first.

    By the number in its name: a clock that was set back would make a run from before a restart the newest for ever.
    """
    made = [path for path in parent.glob(f"{PREFIX}*") if path.stat().st_uid == os.getuid()]
    return max(made, key=_number, default=None)


def _number(directory: Path) -> int:
    found = re.match(r"(\d+)-", directory.name.removeprefix(PREFIX))
    return int(found[1]) if found else 0


def gpu_count(directory: Path) -> int:
    return int((directory / GPU_COUNT).read_text())
