"""Advisories about Python packages, from OSV by pip-audit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from advisory import Advisory, AuditError

# A source that knows nothing of this one knows nothing: a mirror without advisories answers "none" to every question.
CANARY = {"requests": "2.31.0"}
CANARY_ID = "CVE-2024-35195"


Pin = tuple[str, str]  # name, version


def locked(locks: Iterable[Path]) -> set[Pin]:
    """Every version that any platform would install."""
    text = "".join(lock.read_text() for lock in locks)
    return set(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE))


def python_advisories(pins: Iterable[Pin]) -> list[Advisory]:
    """What is known about any of them.

    Raises:
        AuditError: OSV does not answer, or does not know what it must (69).
    """
    if not any(CANARY_ID in advisory.ids for advisory in _ask(CANARY.items())):
        (package, version) = next(iter(CANARY.items()))
        raise AuditError(
            f"the source does not know {CANARY_ID} of {package} {version}: it has no advisories",
            "PIP_AUDIT_OSV_URL must lead to OSV or a mirror of it",
            69,
        )
    return [advisory for each in _rounds(pins) for advisory in _ask(each)]


def _rounds(pins: Iterable[Pin]) -> Iterator[list[Pin]]:
    """pip-audit takes one version of a package at a time; two locks may name two."""
    left = sorted(set(pins))
    while left:
        one = {name: (name, version) for name, version in left}
        yield list(one.values())
        left = [pin for pin in left if pin not in one.values()]


def _ask(pins: Iterable[Pin]) -> list[Advisory]:
    """Pins alone: a marker of another platform would leave a package out without a word."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pins.txt")
        file.write_text("".join(f"{name}=={version}\n" for name, version in pins))
        command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--format", "json"]
        command += ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--requirement", str(file)]
        done = subprocess.run(command, capture_output=True, text=True)
    try:
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError as error:
        said = [
            line for line in done.stderr.strip().splitlines() if "no-deps" not in line and "pip-compile" not in line
        ]
        raise AuditError(
            f"pip-audit got no answer: {said[-1] if said else 'nothing said'}", "Is OSV reachable?", 69
        ) from error
    skipped = [each for each in dependencies if "skip_reason" in each]
    if skipped:
        raise AuditError(f"{len(skipped)} skipped, first: {skipped[0]['skip_reason']}", "A skip is not a pass", 69)
    return [advisory for dependency in dependencies for advisory in _advisories(dependency)]


def _advisories(dependency: dict[str, Any]) -> Iterable[Advisory]:
    for found in dependency["vulns"]:
        fixes = found["fix_versions"]
        remedy = f"fixed in {' or '.join(fixes)}" if fixes else "no version mends it"
        ids = tuple(sorted({found["id"], *found["aliases"]}))
        yield Advisory(dependency["name"], dependency["version"], ids, remedy)
