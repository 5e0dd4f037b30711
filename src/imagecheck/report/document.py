"""The scorecard as one JSON document, keyed by the image's digest: what --json writes and `compare` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imagecheck.outcome import Outcome, Result
from imagecheck.scorecard import Scorecard

SCHEMA = 1


def to_document(card: Scorecard) -> dict[str, Any]:
    """JSON-ready. `schema` changes when a reader of the old form would misread the new one."""
    image = card.image
    return {
        "schema": SCHEMA,
        "image": {
            "reference": image.reference,
            "digest": image.id,
            "repository_digests": list(image.digests),
            "architecture": image.architecture,
            "bytes": image.size,
            "layers": list(image.layers),
            "user": image.user,
            "command": image.start_command,
        },
        "started": card.started,
        "seconds": round(card.seconds, 1),
        "exit_code": card.exit_code,
        "totals": {outcome.value: len(card.with_outcome(outcome)) for outcome in Outcome},
        "facts": dict(card.facts),
        "curves": {name: list(losses) for name, losses in card.curves.items()},
        "results": [result_document(result) for result in card.results],
    }


def result_document(result: Result) -> Mapping[str, Any]:
    return {
        "check": result.check,
        "promise": result.promise,
        "outcome": result.outcome.value,
        "required": result.required,
        "summary": result.finding.summary,
        "remedy": result.remedy,
        "seconds": round(result.seconds, 2),
        "evidence": dict(result.finding.evidence),
    }


def flat_facts(facts: Mapping[str, Any]) -> dict[str, object]:
    """The facts, with the installed versions of what torch pins in place of the pins."""
    pins = {name: pin["installed"] for name, pin in facts.get("pins", {}).items()}
    return {name: value for name, value in facts.items() if name != "pins"} | pins


def told(value: object) -> str:
    """A fact as a person reads it."""
    if value is None:
        return "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value)) or "none"
    return str(value)
