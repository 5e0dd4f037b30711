"""How long is the course? Each chapter's script once, by itself, and every notebook through the Lab's server."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from engine import IMAGE, ROOT, output
from measured import Promise, Section
from rich.progress import track

NAMES = "from workstation.examples.catalog import CHAPTERS; print(*(each.name for each in CHAPTERS))"
ALONE = ("docker", "run", "--rm", "--network", "none", "--shm-size=1g", IMAGE)
SLOWEST_S, ALL_MIN = 60, 12


def measure_chapters(_count: int) -> Section:
    """Once each: what is promised is a bound with much room, no ratio."""
    names = output(*ALONE, "python", "-c", NAMES).split()
    scripts = [seconds_of_a_script(name) for name in track(names, "scripts")]
    notebooks, whole = seconds_of_notebooks()
    table = ["| chapter | script, s | notebook, s |", "| --- | ---: | ---: |"]
    for name, seconds in zip(names, scripts, strict=True):
        table.append(f"| {name} | {seconds:.0f} | {notebooks[name]:.0f} |")
    table += ["", "A script has both cores; the notebooks, with their solutions, run two at a time, on a thread each."]
    return Section(
        "The course",
        table,
        [
            Promise("slowest chapter's script", f"{max(scripts):.0f} s", f"≤ {SLOWEST_S} s", max(scripts) <= SLOWEST_S),
            Promise("all notebooks through the server", f"{whole:.1f} min", f"≤ {ALL_MIN} min", whole <= ALL_MIN),
        ],
    )


def seconds_of_a_script(name: str) -> float:
    """From nothing to the result: `docker run`, the imports, the data, the training. It must keep its promise."""
    before = time.monotonic()
    output(*ALONE, "workstation", "examples", "run", name, "--json")
    return time.monotonic() - before


def seconds_of_notebooks() -> tuple[dict[str, float], float]:
    """Of each, by its chapter's name; and the minutes of all."""
    with TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = ["pytest", "tests/course", "--numprocesses", str(os.cpu_count()), f"--junit-xml={report}"]
        before = time.monotonic()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        minutes = (time.monotonic() - before) / 60
        cases = ElementTree.parse(report).iter("testcase")
        return {chapter_of(case.attrib["name"]): float(case.attrib["time"]) for case in cases}, minutes


def chapter_of(test: str) -> str:
    """`test_…[06_cnn]` is of the chapter `cnn`."""
    return test.partition("[")[2].rstrip("]").partition("_")[2]
