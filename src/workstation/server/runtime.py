"""What one run of the server leaves for the health check: Jupyter's own record, and how many GPUs there were.

It lies below /tmp, not in the home: a volume outlives the container, and its records would speak of servers long gone.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from workstation.errors import WorkstationError

PREFIX = f"workstation-{os.getuid()}-"
GPU_COUNT = "gpu-count"


class TemporaryDirectoryError(WorkstationError):
    """There is no place for what lives as long as the container."""

    exit_code = 73


def make(environ: Mapping[str, str], gpu_count: int) -> Path:
    """A fresh directory of mode 0700 for JUPYTER_RUNTIME_DIR. Raises TemporaryDirectoryError."""
    parent = _parent(environ)
    try:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        (directory / GPU_COUNT).write_text(str(gpu_count))
    except OSError as error:
        raise TemporaryDirectoryError(
            f"{parent} cannot be written: {error.strerror}", remedy="Give it a place to write: --tmpfs /tmp:exec"
        ) from error
    return directory


def newest(environ: Mapping[str, str]) -> Path | None:
    """The directory of this user's latest start; None before the first."""
    made = [path for path in _parent(environ).glob(f"{PREFIX}*") if path.stat().st_uid == os.getuid()]
    return max(made, key=lambda path: path.stat().st_ctime_ns, default=None)


def gpu_count(directory: Path) -> int:
    return int((directory / GPU_COUNT).read_text())


def _parent(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("TMPDIR") or "/tmp")
