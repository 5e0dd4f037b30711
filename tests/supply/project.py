"""How the tests of the supply chain run the scripts: as a person does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def script(
    name: str, *arguments: str | Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`python scripts/NAME ARGUMENTS`; `environment` is laid over the one that is there."""
    command = [sys.executable, ROOT / "scripts" / name, *arguments]
    return subprocess.run(
        [*map(str, command)], env=os.environ | (environment or {}), capture_output=True, text=True, timeout=120
    )
