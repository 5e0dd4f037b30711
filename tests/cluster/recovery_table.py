"""How long each fault cost, as a table."""

from __future__ import annotations

import datetime
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from suffering import Fault

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Outcome:
    standstill: float  # seconds, the longest without a step that had not been made before
    repeated: int  # steps made twice: those after the newest checkpoint
    off: float  # the largest difference of a step's loss from the undisturbed job's


@dataclass
class Record:
    """Written anew after each fault, so that a long run that is stopped keeps what it has."""

    page: Path | None
    outcomes: dict[str, list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    expected: dict[str, str] = field(default_factory=dict)

    def add(self, fault: Fault, outcome: Outcome) -> None:
        self.outcomes[fault.what].append(outcome)
        self.expected[fault.what] = fault.expected
        if self.page is not None:
            self._write(self.page)

    def rows(self) -> list[str]:
        return [
            f"| {what} | {self.expected[what]} | {len(found)} | "
            f"{min(each.standstill for each in found):.0f}–{max(each.standstill for each in found):.0f} | "
            f"{max(each.repeated for each in found)} | {max(each.off for each in found):.0e} |"
            for what, found in self.outcomes.items()
        ]

    def _write(self, page: Path) -> None:
        """Put the table between the page's markers; its prose stays."""
        head = [
            f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {len(self.outcomes)} faults.",
            "",
            "| fault | what happens | times | longest standstill, s | steps made twice (max) | losses off by (max) |",
            "| --- | --- | ---: | ---: | ---: | ---: |",
        ]
        before, _, rest = page.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        page.write_text("\n".join([before + BEGIN, *head, *self.rows(), END + after]))
