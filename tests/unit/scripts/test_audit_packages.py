"""What `make audit` asks about: every lock of the repository but the host's, each version of a package in it."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names in scripts/audit/__main__.py."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "audit"))
    return runpy.run_path(str(ROOT / "scripts" / "audit" / "__main__.py"))


def test_every_lock_but_the_hosts_is_asked_about(audit: dict[str, Any]) -> None:
    asked = ["git", "-C", ROOT, "grep", "--files-with-matches", "--", "--hash=sha256:", "*.txt"]
    locks = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
    told = {str(lock.relative_to(ROOT)) for lock in [*audit["IN_THE_IMAGE"], *audit["BESIDE_IT"]]}
    assert told == set(locks) - {"requirements/host.txt"}


def test_two_versions_of_a_package_are_asked_about_one_after_the_other(audit: dict[str, Any]) -> None:
    """pip-audit refuses a list that names a package twice."""
    del audit
    rounds = sys.modules["python_packages"]._rounds
    pins = [("a", "1"), ("a", "2"), ("b", "1")]
    asked = list(rounds(pins))
    assert [len({name for name, _ in each}) == len(each) for each in asked] == [True, True]
    assert sorted(pin for each in asked for pin in each) == pins


@pytest.mark.parametrize("image", ["torch-workstation:local", "owner/name:1", "sha256:00"])
def test_an_image_without_a_registrys_name_is_the_engines(audit: dict[str, Any], image: str) -> None:
    with pytest.raises(audit["NoSbomError"], match="is of this engine"):
        audit["attached_pins"](image)
