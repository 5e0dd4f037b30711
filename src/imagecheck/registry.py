"""Which checks there are, and which of them a run selects."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from imagecheck.bench import Bench
from imagecheck.errors import UsageError
from imagecheck.outcome import Finding

Judge = Callable[[Bench], Finding]


@dataclass(frozen=True)
class Check:
    """A promise with a stable id (`group.name`) and the function that judges it."""

    id: str
    promise: str
    judge: Judge

    @property
    def group(self) -> str:
        return self.id.partition(".")[0]

    def answers_to(self, name: str) -> bool:
        return name in (self.id, self.group)


_CHECKS: dict[str, Check] = {}
# The order of the scorecard, and of the work: what everything else leans on comes first,
# and last what is read beside all else, the layers.
GROUPS = (
    "stack",
    "cudnn",
    "gpu",
    "numerics",
    "compile",
    "dataloader",
    "training",
    "server",
    "operations",
    "distributed",
    "contents",
)


def promise(check_id: str, sentence: str) -> Callable[[Judge], Judge]:
    """Register the function below as the judge of `check_id`."""

    def register(judge: Judge) -> Judge:
        assert check_id not in _CHECKS, f"{check_id} is promised twice"
        assert check_id.partition(".")[0] in GROUPS, f"{check_id} belongs to no group"
        _CHECKS[check_id] = Check(check_id, sentence, judge)
        return judge

    return register


def every_check() -> tuple[Check, ...]:
    """All checks, in the order of `GROUPS`; within a group in the order they are written."""
    import imagecheck.checks as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return tuple(sorted(_CHECKS.values(), key=lambda check: GROUPS.index(check.group)))


def select(checks: Sequence[Check], *, only: Iterable[str], deselect: Iterable[str]) -> tuple[Check, ...]:
    """The checks that `only` names (all, if it names none) less those that `deselect` names.

    Raises:
        UsageError: a name is neither a check nor a group.
    """
    wanted, unwanted = tuple(only), tuple(deselect)
    verify_names(checks, (*wanted, *unwanted))
    return tuple(
        check
        for check in checks
        if (not wanted or any(map(check.answers_to, wanted))) and not any(map(check.answers_to, unwanted))
    )


def verify_names(checks: Sequence[Check], names: Iterable[str]) -> None:
    """Raise `UsageError` for a name that no check answers to."""
    for name in names:
        if not any(check.answers_to(name) for check in checks):
            raise UsageError(f"there is no check or group called {name!r}", remedy="See `imagecheck list`")
