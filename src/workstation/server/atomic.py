"""Files in the home that are whole or not there at all, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from workstation.errors import HomeError


def write(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace `path` in one step, once `content` is on the disk. Raises HomeError (disk full, no permission)."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise _not_written(path, error) from error


def make_directory(path: Path, mode: int = 0o777) -> None:
    """Make `path` and what is above it; one that exists keeps its mode. Raises HomeError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> HomeError:
    return HomeError(
        f"{path} cannot be written: {error.strerror}",
        remedy="Free some space or mend the permissions, then start again; nothing was changed or lost",
    )
