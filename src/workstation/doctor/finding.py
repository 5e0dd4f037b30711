"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Status(IntEnum):
    """In order of gravity: the worst of many is their max()."""

    OK = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True)
class Finding:
    """One judgement: what was seen, and what to do about it where it is not as it should be."""

    status: Status
    value: str
    remedy: str | None = None


def ok(value: str) -> Finding:
    return Finding(Status.OK, value)


def warn(value: str, *, remedy: str) -> Finding:
    return Finding(Status.WARN, value, remedy)


def fail(value: str, *, remedy: str) -> Finding:
    return Finding(Status.FAIL, value, remedy)
