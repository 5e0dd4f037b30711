"""An advisory that concerns what is in the image, and the list of those that we live with for a while."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


class AuditError(Exception):
    """One line with what to do, and the exit code."""

    def __init__(self, what: str, remedy: str, code: int) -> None:
        super().__init__(f"{what}. {remedy}")
        self.code = code


@dataclass(frozen=True)
class Advisory:
    """`ids`: every name it goes by. A Debian update has one: the version that brings it."""

    package: str
    version: str
    ids: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}: {', '.join(self.ids)}; {self.remedy}"


@dataclass(frozen=True)
class Allowed:
    """`expires`: the last day on which it counts."""

    package: str
    id: str
    reason: str
    expires: datetime.date

    def covers(self, advisory: Advisory) -> bool:
        return self.package == advisory.package and self.id in advisory.ids

    def is_over(self, today: datetime.date) -> bool:
        return today > self.expires

    def __str__(self) -> str:
        return f"{self.package} {self.id}, until {self.expires}: {self.reason}"


def allow_list(path: Path) -> list[Allowed]:
    """Raises AuditError (65) unless each entry has a package, an id, a reason and an expiry date, and nothing else."""
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise AuditError(f"{path.name}: {error}", "Mend the file", 65) from error
    if document.keys() - {"allowed"}:
        raise AuditError(f"{path.name}: {', '.join(document)} is unknown", "Entries are [[allowed]]", 65)
    return [_allowed(path.name, entry) for entry in document.get("allowed", [])]


def _allowed(file: str, entry: dict[str, Any]) -> Allowed:
    names = {field.name for field in fields(Allowed)}
    wanted = f"An entry has {', '.join(sorted(names))}"
    if entry.keys() != names:
        wrong = ", ".join(sorted(entry.keys() ^ names))
        raise AuditError(f"{file}: missing or unknown: {wrong}, in {entry.get('package', 'an entry')}", wanted, 65)
    if type(entry["expires"]) is not datetime.date:
        raise AuditError(f"{file}: expires of {entry['package']} is no date", "Write it bare: 2027-01-31", 65)
    if not all(isinstance(entry[name], str) and entry[name].strip() for name in names - {"expires"}):
        raise AuditError(f"{file}: an empty word in {entry['package'] or 'an entry'}", wanted, 65)
    return Allowed(**entry)


@dataclass(frozen=True)
class Verdict:
    """What is known, sorted by the list."""

    open: tuple[Advisory, ...]  # nobody allowed them
    allowed: tuple[tuple[Advisory, Allowed], ...]
    expired: tuple[Allowed, ...]
    unused: tuple[Allowed, ...]

    @property
    def is_clean(self) -> bool:
        return not self.open and not self.expired


def judged(advisories: Iterable[Advisory], entries: Iterable[Allowed], today: datetime.date) -> Verdict:
    """An expired entry covers nothing, and is an error of its own: somebody promised to look again by then."""
    found, listed = list(advisories), list(entries)
    valid = [entry for entry in listed if not entry.is_over(today)]
    covered = [(each, entry) for each in found for entry in valid if entry.covers(each)]
    return Verdict(
        open=tuple(each for each in found if not any(entry.covers(each) for entry in valid)),
        allowed=tuple(covered),
        expired=tuple(entry for entry in listed if entry.is_over(today)),
        unused=tuple(entry for entry in valid if not any(entry.covers(each) for each in found)),
    )
