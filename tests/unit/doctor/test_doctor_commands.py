"""The commands that people are told to type look at what their notebooks get."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [
    "Makefile",
    "docs/doctor.md",
    "docs/deploy/cloud-vm.md",
    "docs/deploy/kubernetes.md",
    "docs/deploy/podman.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_the_doctor_in_a_running_container_has_the_servers_environment(page: str) -> None:
    """`exec` goes past the entry point, which sets the thread counts and moves caches that cannot be written."""
    ways = re.findall(r"\bexec [\w./ -]*?(workstation-start )?workstation doctor", (ROOT / page).read_text())
    assert ways
    assert all(ways)


def test_a_health_check_has_time_to_wake_eight_gpus() -> None:
    """Without persistence mode NVML initialises each, one to three seconds long."""
    timeout = re.search(r"HEALTHCHECK .*--timeout=(\d+)s", (ROOT / "Dockerfile").read_text())
    assert timeout is not None
    assert int(timeout[1]) >= 24
