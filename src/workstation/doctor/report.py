"""The examination as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from workstation.doctor.examination import Row, worst
from workstation.doctor.finding import Finding, Status
from workstation.doctor.machine import Machine

COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}


def table(rows: tuple[Row, ...]) -> Table:
    """A line a check under its section's name, the remedy below what it mends."""
    drawn = Table(box=None, pad_edge=False, show_header=False)
    drawn.add_column(no_wrap=True)
    drawn.add_column(no_wrap=True)
    drawn.add_column(overflow="fold")
    section = ""
    for row in rows:
        if row.section != section:
            drawn.add_row("", Text(f"\n{row.section}" if section else row.section, style="bold"))
            section = row.section
        status = Text(row.finding.status.name, style=COLOURS[row.finding.status])
        drawn.add_row(status, row.check.replace("_", " "), _found(row.finding))
    return drawn


def show(rows: tuple[Row, ...], console: Console) -> None:
    """Print the table and one closing line."""
    console.print(table(rows))
    counts = {status: sum(row.finding.status is status for row in rows) for status in Status}
    console.print()
    console.print(Text(", ".join(f"{count} {status.name}" for status, count in counts.items()), style="bold"))


def as_json(rows: tuple[Row, ...], machine: Machine) -> str:
    """{"status", "versions": {…}, "findings": [{"section", "check", "status", "value", "remedy"}, …]}."""
    findings = [
        {
            "section": row.section,
            "check": row.check,
            "status": row.finding.status.name,
            "value": row.finding.value,
            "remedy": row.finding.remedy,
        }
        for row in rows
    ]
    versions = {
        "python": machine.interpreter.version,
        **asdict(machine.installed),
        "driver": machine.graphics.driver or machine.graphics.kernel_driver,
    }
    return json.dumps(
        {"status": worst(rows).name, "versions": versions, "findings": findings}, indent=2, ensure_ascii=False
    )


def _found(finding: Finding) -> Text:
    found = Text(finding.value)
    if finding.remedy is not None:
        found.append(f"\n→ {finding.remedy}", style=COLOURS[finding.status])
    return found
