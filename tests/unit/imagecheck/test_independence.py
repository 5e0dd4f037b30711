"""imagecheck runs on a bare CI host: no torch, and nothing of what lives in the image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from imagecheck.engine.interpreter import candidates, first_with_torch
from imagecheck.errors import UsageError
from imagecheck.settings import Settings
from imagecheck.suite import selected

SOURCE = Path(__file__).resolve().parents[3] / "src"
BLOCKED = """
import sys
sys.modules["torch"] = sys.modules["workstation"] = sys.modules["numpy"] = None
import imagecheck.cli, imagecheck.plugin
from imagecheck.registry import every_check
print(len(every_check()))
"""


def test_the_host_needs_neither_torch_nor_the_workstation() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(SOURCE)}
    )
    assert done.returncode == 0, done.stderr


def test_a_python_is_looked_for_along_the_images_path_first() -> None:
    paths = candidates({"PATH": "/opt/conda/bin:/usr/bin:relative", "VIRTUAL_ENV": "/srv/env"})
    assert paths[:4] == (
        "/srv/env/bin/python",
        "/srv/env/bin/python3",
        "/opt/conda/bin/python",
        "/opt/conda/bin/python3",
    )
    assert len(set(paths)) == len(paths)


def test_the_first_python_that_has_torch_is_taken() -> None:
    assert first_with_torch(["/a", "/b", "/c"], {"/b", "/c"}.__contains__) == "/b"
    assert first_with_torch(["/a"], lambda _: False) is None


def test_usage_is_judged_before_an_engine_is_asked() -> None:
    with pytest.raises(UsageError):
        selected(Settings(require=("no-such-check",)))
