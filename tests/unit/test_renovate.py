"""renovate.json finds what it is to keep up to date. Its schema is checked by `make lint`."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = json.loads((ROOT / "renovate.json").read_text())
LOCKS, BASE = SETTINGS["customManagers"]


def patterns(manager: dict[str, list[str]], key: str) -> list[re.Pattern[str]]:
    """Renovate's are JavaScript's, a file's between slashes."""
    return [re.compile(text.strip("/").replace("(?<", "(?P<")) for text in manager[key]]


def files(manager: dict[str, list[str]]) -> list[Path]:
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files"], check=True, capture_output=True, text=True).stdout
    found = patterns(manager, "managerFilePatterns")
    return [ROOT / name for name in tracked.splitlines() if any(pattern.search(name) for pattern in found)]


def matches(manager: dict[str, list[str]], text: str) -> Iterator[dict[str, str | None]]:
    for pattern in patterns(manager, "matchStrings"):
        yield from (match.groupdict() for match in pattern.finditer(text))


def test_it_finds_every_pin_of_every_lock() -> None:
    locks = files(LOCKS)
    asked = ["git", "-C", ROOT, "grep", "--files-with-matches", "--", "--hash=sha256:", "*.txt"]
    there = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
    assert {str(lock.relative_to(ROOT)) for lock in locks} == set(there)
    for lock in locks:
        pins = [line for line in lock.read_text().splitlines() if line[:1].isalnum()]
        assert len(list(matches(LOCKS, lock.read_text()))) == len(pins), lock.name


def test_every_lock_is_written_anew_as_its_first_lines_say() -> None:
    """Renovate changes a version alone: without the command, the hashes beside it are of the version before."""
    (rule,) = [rule for rule in SETTINGS["packageRules"] if "postUpgradeTasks" in rule]
    tasks = rule["postUpgradeTasks"]
    assert rule["matchFileNames"] == tasks["fileFilters"]
    for lock in files(LOCKS):
        name = str(lock.relative_to(ROOT))
        assert any(fnmatch(name, pattern) for pattern in tasks["fileFilters"]), name
        command = re.search(r"^# +(uv pip compile .*)$", lock.read_text(), re.MULTILINE)
        assert (command[1] if command else "scripts/lock") in tasks["commands"], name


def test_it_reads_name_and_version_of_a_pin_with_a_marker() -> None:
    text = "# comment\nnvidia-nccl-cu13==2.30.7 ; sys_platform == 'linux' \\\n    --hash=sha256:00\n"
    assert list(matches(LOCKS, text)) == [{"depName": "nvidia-nccl-cu13", "currentValue": "2.30.7"}]


def test_it_finds_the_base_wherever_it_is_a_default() -> None:
    asked = ["git", "-C", ROOT, "grep", "--files-with-matches", r"nvidia/cuda:[0-9].*-base-ubuntu"]
    naming = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
    prose = {"scripts/base-image"}
    told = {name for name in naming if not name.startswith(("docs/", "README", "src/", "deploy/"))} - prose
    assert {str(file.relative_to(ROOT)) for file in files(BASE)} == told
    found = [match for file in files(BASE) for match in matches(BASE, file.read_text())]
    assert len(found) >= len(told)
    assert len({(each["depName"], each["currentValue"], each["currentDigest"]) for each in found}) == 1


def test_it_keeps_the_digest_beside_the_tag() -> None:
    text = f"ARG BASE_IMAGE=nvidia/cuda:13.0.4-base@sha256:{'a' * 64}\n"
    (found,) = matches(BASE, text)
    assert found["currentDigest"] == f"sha256:{'a' * 64}"


def test_the_torch_trio_waits_for_a_person() -> None:
    (rule,) = [rule for rule in SETTINGS["packageRules"] if rule.get("dependencyDashboardApproval")]
    assert {"requirements/torch.txt", "requirements/cuda.txt"} <= set(rule["matchFileNames"])
