"""What a run hands back: numbers, and whether they are good enough."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Protocol


class Metrics(Protocol):
    """A frozen dataclass of plain numbers that knows its own threshold."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def holds(self) -> bool | None:
        """True when the run kept its promise; None when nothing was promised."""
        ...


def as_numbers(metrics: Metrics) -> dict[str, float | int | str]:
    """Field to value, in the order the dataclass names them; ready for JSON."""
    return {field.name: getattr(metrics, field.name) for field in dataclasses.fields(metrics)}
