"""What the image says it was made from is what is in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from lab import Lab

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def manifest(running: Lab) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(running.run("cat", "/opt/workstation/build.json").output)
    return document


def test_it_lists_every_debian_package_with_its_version(running: Lab, manifest: dict[str, Any]) -> None:
    asked = running.run("dpkg-query", "-W", "-f=${Package} ${Version} ${Architecture}\\n").output
    listed = {f"{each['name']} {each['version']} {each['architecture']}" for each in manifest["apt"]}
    assert listed == set(asked.split("\n")) - {""}


def test_it_holds_the_sha256_of_what_apt_installed(manifest: dict[str, Any]) -> None:
    sums = {each["name"]: each["sha256"] for each in manifest["apt"]}
    assert all(len(sums[name] or "") == 64 for name in ("gcc", "g++", "git", "tini", "python3-dev"))


def test_it_names_the_locks_by_their_content(manifest: dict[str, Any]) -> None:
    names = ["cuda.txt", "devel.txt", "jupyter.txt", "science.txt", "torch.txt"]
    locks = {name: hashlib.sha256((ROOT / "requirements" / name).read_bytes()).hexdigest() for name in names}
    assert manifest["locks"] == locks
