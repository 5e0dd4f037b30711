"""The two programs that speak to a registry here: oras and cosign."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path


class PublishError(Exception):
    """One line with what to do, and the exit code."""

    def __init__(self, what: str, remedy: str, code: int) -> None:
        super().__init__(f"{what}. {remedy}")
        self.code = code


def output(
    program: str, *arguments: str, given: bytes | None = None, cwd: Path | None = None, refusals: Collection[int] = ()
) -> bytes:
    """What it prints.

    Raises:
        PublishError: with its last line: it ended with one of `refusals` (1), or otherwise failed (69). Or it is not
            installed (69).
    """
    if shutil.which(program) is None:
        raise PublishError(f"{program} is not installed", "Debian 13 has it: apt-get install cosign oras", 69)
    done = subprocess.run([program, *arguments], input=given, cwd=cwd, capture_output=True)
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        error = next((line for line in lines if line.lower().startswith("error")), lines[-1])
        refused = done.returncode in refusals
        remedy = "Do not run it" if refused else "Mend that, then try again"
        raise PublishError(f"{program} {arguments[0]}: {error.rstrip('.')}", remedy, 1 if refused else 69)
    return done.stdout
