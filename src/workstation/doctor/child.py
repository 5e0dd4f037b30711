"""Questions put to another process: what may crash, hang or load gigabytes must not do it to the doctor."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 180.0  # a cold `import torch` from a slow disk takes a minute


class ChildError(Exception):
    """The child gave no answer; the message is the last thing it said, or the signal that killed it."""


def ask(script: Path, *arguments: str, patience: float = PATIENCE_SECONDS) -> dict[str, Any]:
    """Run a script of this package in a Python of its own; its last line on stdout is the answer, in JSON.

    Raises ChildError when it crashes, hangs or raises.
    """
    # -P: without it the script's own folder would lead sys.path, and its module names would hide others'
    command = [sys.executable, "-P", str(script), *arguments]
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience,
        )
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"no answer within {patience:.0f} s") from error
    if done.returncode < 0:
        raise ChildError(f"killed by {signal.Signals(-done.returncode).name}{_last_words(done.stderr)}")
    if done.returncode != 0:
        raise ChildError(_last_words(done.stderr).removeprefix(": ") or f"exit code {done.returncode}")
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise ChildError(f"no answer in {done.stdout[-200:]!r}") from error
    return answer


def _last_words(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else ""
