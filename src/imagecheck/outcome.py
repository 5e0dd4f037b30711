"""The four ends a check can come to. A skip is never a pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """PASS: the promise holds. FAIL: it does not. SKIP: it does not apply here. ERROR: it could not be judged."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """What a check found: an outcome, one line that says why, what to do about it, and what was seen."""

    outcome: Outcome
    summary: str
    remedy: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)


def passed(summary: str, **evidence: object) -> Finding:
    return Finding(Outcome.PASS, summary, evidence=evidence)


def failed(summary: str, *, remedy: str, **evidence: object) -> Finding:
    return Finding(Outcome.FAIL, summary, remedy, evidence)


def skipped(reason: str, **evidence: object) -> Finding:
    return Finding(Outcome.SKIP, reason, evidence=evidence)


@dataclass(frozen=True)
class Result:
    """One check's line in the scorecard. `required` says that anything but a pass counts as a failure."""

    check: str
    promise: str
    finding: Finding
    seconds: float
    required: bool = False

    @property
    def outcome(self) -> Outcome:
        """The outcome that counts: a required check that skipped has failed."""
        if self.required and self.finding.outcome is Outcome.SKIP:
            return Outcome.FAIL
        return self.finding.outcome

    @property
    def remedy(self) -> str:
        if self.required and self.finding.outcome is Outcome.SKIP:
            return "it was required: run it where it applies, or drop it from --require"
        return self.finding.remedy
