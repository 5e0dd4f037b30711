"""Rows of a table that only a test which saw them can write."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "lab-faults.md"
HEADER = """# What a Lab survives

By `make lab-faults`: each fault is done to a real container of the image; each row is written by the test that saw it,
and stays as it was where the test was not run or failed. A killed daemon's is by
`pytest tests/survival --record --kill-docker`, which stops every container of the machine.

{machine}

| fault | what happened | the Lab answered again after | saved work | seen |
| --- | --- | ---: | --- | --- |
"""


@dataclass
class Observations:
    rows: dict[str, str] = field(default_factory=dict)  # by fault

    def add(self, fault: str, happened: str, seconds: float | None, work: str = "intact") -> None:
        """`seconds` is None where it never stopped answering."""
        self._row(fault, happened, "it never stopped" if seconds is None else f"{seconds:.1f} s", work)

    def refused(self, fault: str, said: str) -> None:
        """It did not start, and said why."""
        self._row(fault, f"the start is refused: “{said}”", "once it has been mended", "intact")

    def _row(self, fault: str, *cells: str) -> None:
        self.rows[fault] = f"| {' | '.join((fault, *cells, time.strftime('%Y-%m-%d')))} |"

    def write(self) -> None:
        kept = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][2:]
        rows = {line.split(" | ")[0].removeprefix("| "): line for line in kept} | self.rows
        asked = ["docker", "version", "--format", "{{.Server.Version}}"]
        engine = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
        machine = f"Docker {engine}, Linux {platform.release()}, {os.cpu_count()} cores."
        PAGE.write_text(HEADER.format(machine=machine) + "\n".join(rows.values()) + "\n")
