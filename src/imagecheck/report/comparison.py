"""Two scorecards side by side: versions, sizes, layers, outcomes; equal lines are left out unless they carry weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from imagecheck.report.document import flat_facts, told

GIB = 1024**3
Document = Mapping[str, Any]  # what report/document.py makes


def compare(one: Document, other: Document) -> Table:
    """A table of what the images are and of every check whose outcome or finding differs."""
    table = Table("", one["image"]["reference"], other["image"]["reference"], title="imagecheck compare", expand=True)
    for name, left, right in (*identity(one, other), *versions(one, other)):
        table.add_row(name, left, right, style="" if left == right else "bold")
    table.add_section()
    for name, left, right in outcomes(one, other):
        table.add_row(name, left, right)
    return table


def identity(one: Document, other: Document) -> list[tuple[str, str, str]]:
    shared = set(one["image"]["layers"]) & set(other["image"]["layers"])
    rows = [("digest", *(card["image"]["digest"][7:19] for card in (one, other)))]
    rows.append(("size", *(f"{card['image']['bytes'] / GIB:.2f} GiB" for card in (one, other))))
    rows.append(("layers", *(f"{len(card['image']['layers'])}, {len(shared)} shared" for card in (one, other))))
    rows.append(("user", *(card["image"]["user"] or "root" for card in (one, other))))
    rows.append(("totals", *(", ".join(f"{n} {kind}" for kind, n in card["totals"].items()) for card in (one, other))))
    return rows


def versions(one: Document, other: Document) -> list[tuple[str, str, str]]:
    left, right = (flat_facts(card["facts"]) for card in (one, other))
    names = dict.fromkeys((*left, *right))
    return [(name, told(left.get(name)), told(right.get(name))) for name in names]


def outcomes(one: Document, other: Document) -> list[tuple[str, str, str]]:
    """The checks that ended differently, in the order of the first card; a check only one card has counts as such."""
    left, right = ({result["check"]: result for result in card["results"]} for card in (one, other))
    rows = []
    for check in dict.fromkeys((*left, *right)):
        a, b = left.get(check), right.get(check)
        if (a and a["outcome"]) != (b and b["outcome"]):
            rows.append((check, *(f"{r['outcome']}: {r['summary']}" if r else "never ran" for r in (a, b))))
    return rows
