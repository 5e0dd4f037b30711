"""What a site runs before the server: `*.sh` by bash and `*.py` by Python, in the order of their names.

Each is a process of its own: it may prepare files, mounts and logins; what it exports ends with it (use `docker run
--env` or `env_file` for variables). A failing hook stops the start, so that nobody works on a half-prepared machine.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from workstation.errors import HookError, SettingError

DEFAULT_DIRECTORY = Path("/etc/workstation/before-start.d")
INTERPRETERS = {".sh": "bash", ".py": "python"}


def run_all(directory: Path, home: Path) -> None:
    """Raises HookError, which names the first hook that fails; those after it are not run."""
    for hook in _hooks(directory):
        sys.stdout.flush()
        try:
            status = subprocess.run([INTERPRETERS[hook.suffix], hook], cwd=home, check=False).returncode
        except OSError as error:
            raise HookError(f"the hook {hook} cannot be run: {error.strerror}", remedy=_REMEDY) from error
        if status:
            ending = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"failed with status {status}"
            raise HookError(f"the hook {hook} {ending}", remedy=_REMEDY)


_REMEDY = "The server was not started: mend the hook or remove it, then start again"


def _hooks(directory: Path) -> Iterator[Path]:
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        if directory == DEFAULT_DIRECTORY and isinstance(error, FileNotFoundError):
            return
        raise SettingError(
            f"WORKSTATION_HOOKS={directory} cannot be read: {error.strerror}", remedy="Mount a directory there"
        ) from error
    yield from (entry for entry in entries if entry.suffix in INTERPRETERS)
