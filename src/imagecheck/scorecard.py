"""All results of one image, and the exit code they add up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from imagecheck.engine.image import Image
from imagecheck.outcome import Outcome, Result

EXIT_PASSED, EXIT_FAILED, EXIT_UNDECIDED = 0, 1, 3


@dataclass(frozen=True)
class Scorecard:
    """What was found of `image`. `facts` are the versions seen; `curves` the training losses, by task."""

    image: Image
    results: tuple[Result, ...]
    seconds: float
    started: str
    facts: Mapping[str, object] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    kept: tuple[str, ...] = ()  # commands that remove what --keep left

    def with_outcome(self, outcome: Outcome) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.outcome is outcome)

    @property
    def exit_code(self) -> int:
        """1 where a check failed; else 3 where one could not be judged; else 0."""
        if self.with_outcome(Outcome.FAIL):
            return EXIT_FAILED
        return EXIT_UNDECIDED if self.with_outcome(Outcome.ERROR) else EXIT_PASSED
