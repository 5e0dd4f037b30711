"""What a measurement gives: a table, and the promises it keeps or breaks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Promise:
    what: str
    measured: str
    limit: str
    kept: bool

    def row(self) -> str:
        return f"| {self.what} | {self.measured} | {self.limit} | {'yes' if self.kept else '**no**'} |"


@dataclass(frozen=True)
class Section:
    title: str
    table: list[str]
    promises: list[Promise]
    when: str = ""  # day and machine, filled in where it is kept

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Section:
        return cls(**(document | {"promises": [Promise(**promise) for promise in document["promises"]]}))

    def to_document(self) -> dict[str, Any]:
        return asdict(self)
