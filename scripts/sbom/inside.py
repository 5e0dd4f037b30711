"""Runs inside an image, on its own Python: what is installed there, as JSON. The standard library alone.

Python: every distribution below the venv that this Python runs in, those included that others carry along in `_vendor`.
Debian or Ubuntu: what dpkg says is installed; Debian's own Python packages are among these.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

DOC = Path("/usr/share/doc")
BUILD = Path("/opt/workstation/build.json")  # this project's images say there what each .deb's sha256 was
FIELDS = ("Package", "Version", "Architecture", "source:Package", "source:Version", "db:Status-Status")
Found = dict[str, object]


def python_licenses(distribution: Distribution) -> list[str]:
    """The SPDX expression (PEP 639), else what the classifiers say, else a `License` of one line."""
    metadata = distribution.metadata
    if "License-Expression" in metadata:
        return [metadata["License-Expression"]]
    classifiers = [each.split(" :: ") for each in metadata.get_all("Classifier") or []]
    named = [words[-1] for words in classifiers if words[0] == "License" and words[-1] != "OSI Approved"]
    line = metadata["License"].strip() if "License" in metadata else ""
    return [line] if line not in ("", "UNKNOWN") and "\n" not in line and len(line) < 60 else named


def python_packages() -> Iterator[Found]:
    for metadata in sorted(Path(sys.prefix).rglob("*.dist-info/METADATA")):
        distribution = PathDistribution(metadata.parent)
        yield {
            "name": re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower(),
            "version": distribution.version,
            "licenses": python_licenses(distribution),
            "location": str(metadata.parent),
        }


def debian_licenses(package: str) -> list[str]:
    """The short names in a machine-readable copyright file (DEP 5); nothing where it is prose."""
    copyright_file = DOC / package / "copyright"
    try:
        text = copyright_file.read_text(errors="replace")
    except OSError:
        return []
    if not re.match(r"Format(-Specification)?:", text.lstrip()):
        return []
    return sorted(set(re.findall(r"^License: *(\S.*?) *$", text, re.MULTILINE)))


def debian_packages() -> Iterator[Found]:
    sums = {}
    if BUILD.exists():
        listed = json.loads(BUILD.read_text())["apt"]
        sums = {(each["name"], each["version"], each["architecture"]): each["sha256"] for each in listed}
    asked = "\t".join(f"${{{field}}}" for field in FIELDS) + "\n"
    lines = subprocess.run(["dpkg-query", "-W", f"-f={asked}"], check=True, capture_output=True, text=True).stdout
    for line in lines.splitlines():
        name, version, architecture, source, source_version, status = line.split("\t")
        if status == "installed":
            yield {
                "name": name,
                "version": version,
                "architecture": architecture,
                "source": source,
                "source_version": source_version,
                "licenses": debian_licenses(name),
                "sha256": sums.get((name, version, architecture)),
            }


def system() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines if "=" in line)}


if __name__ == "__main__":
    json.dump({"system": system(), "python": list(python_packages()), "debian": list(debian_packages())}, sys.stdout)
