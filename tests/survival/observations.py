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

By `make lab-faults`: each fault is done to a real container of the image; each row is written by the test that saw it.
A killed daemon's by `pytest tests/survival --record --kill-docker`, which stops every container of the machine.

{when}

| fault | what happened | the Lab answered again after | saved work |
| --- | --- | ---: | --- |
"""


@dataclass
class Observations:
    rows: list[str] = field(default_factory=list)

    def add(self, fault: str, happened: str, seconds: float | None, work: str = "intact") -> None:
        """`seconds` is None where it never stopped answering."""
        again = "it never stopped" if seconds is None else f"{seconds:.1f} s"
        self.rows.append(f"| {fault} | {happened} | {again} | {work} |")

    def refused(self, fault: str, said: str) -> None:
        """It did not start, and said why."""
        self.rows.append(f"| {fault} | the start is refused: “{said}” | once it has been mended | intact |")

    def write(self) -> None:
        asked = ["docker", "version", "--format", "{{.Server.Version}}"]
        engine = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
        when = f"{time.strftime('%Y-%m-%d')}, Docker {engine}, Linux {platform.release()}, {os.cpu_count()} cores."
        PAGE.write_text(HEADER.format(when=when) + "\n".join(self.rows) + "\n")
