"""The scorecard on a terminal: a line a check as it ends, then what to do."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from imagecheck.outcome import Outcome, Result
from imagecheck.registry import Check
from imagecheck.scorecard import Scorecard

STYLE = {
    Outcome.PASS: ("✓", "green"),
    Outcome.FAIL: ("✗", "bold red"),
    Outcome.SKIP: ("–", "yellow"),
    Outcome.ERROR: ("!", "bold magenta"),
}
LOG_LINES = 50


class Terminal:
    """Prints progress while it runs and the verdict at its end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None

    def progress(self, check: Check, result: Result | None) -> None:
        if result is None:
            self._status = self._console.status(f"{check.id}: {escape(check.promise)}")
            self._status.start()
            return
        if self._status is not None:
            self._status.stop()
        self._console.print(line(result), highlight=False, soft_wrap=True)

    def verdict(self, card: Scorecard) -> None:
        for result in card.results:
            if result.outcome in (Outcome.FAIL, Outcome.ERROR):
                self._explain(result)
        for command in card.kept:
            self._console.print(f"kept; remove with: {command}", highlight=False, soft_wrap=True)
        counts = ", ".join(f"{len(card.with_outcome(outcome))} {outcome}" for outcome in Outcome)
        self._console.print(
            f"\n{escape(card.image.reference)}  {card.image.id[:19]}  {counts}  in {card.seconds:.0f} s"
        )

    def _explain(self, result: Result) -> None:
        symbol, style = STYLE[result.outcome]
        self._console.print(
            f"\n[{style}]{symbol} {result.check}[/]  {escape(result.promise)}", highlight=False, soft_wrap=True
        )
        self._console.print(f"  {escape(result.finding.summary)}", highlight=False, soft_wrap=True)
        if result.remedy:
            self._console.print(f"  [bold]→ {escape(result.remedy)}[/]", highlight=False, soft_wrap=True)
        log = str(result.finding.evidence.get("log", "")).strip()
        for text in log.splitlines()[-LOG_LINES:]:
            self._console.print(f"  [dim]│ {escape(text)}[/]", highlight=False, soft_wrap=True)


def line(result: Result) -> str:
    symbol, style = STYLE[result.outcome]
    required = " (required)" if result.required and result.finding.outcome is Outcome.SKIP else ""
    told = escape(result.finding.summary + required)
    return f"[{style}]{symbol} {result.check:<24}[/] {told} [dim]{result.seconds:.1f} s[/]"
