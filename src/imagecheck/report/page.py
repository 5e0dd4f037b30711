"""The scorecard as one self-contained HTML page: no script, no font, no request; readable on a phone."""

from __future__ import annotations

import json
from html import escape
from itertools import groupby

from imagecheck.outcome import Outcome, Result
from imagecheck.report.curve import to_svg
from imagecheck.report.document import flat_facts, told
from imagecheck.scorecard import Scorecard

STYLE = """
:root { color-scheme: light dark; --pass: #1a7f37; --fail: #cf222e; --skip: #9a6700; --error: #8250df;
        --line: color-mix(in srgb, currentColor 18%, transparent) }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem } small, .quiet { opacity: .7 }
.totals { display: flex; flex-wrap: wrap; gap: .5rem; padding: 0; margin: 1rem 0; list-style: none }
.totals li { border: 1px solid var(--line); border-radius: .5rem; padding: .25rem .75rem }
details { border-top: 1px solid var(--line); padding: .5rem 0 } summary { cursor: pointer }
summary b { display: inline-block; min-width: 3.5rem } p { margin: .25rem 0 }
.pass b, b.pass { color: var(--pass) } .fail b, b.fail { color: var(--fail) }
.skip b, b.skip { color: var(--skip) } .error b, b.error { color: var(--error) }
pre { overflow-x: auto; padding: .5rem; border: 1px solid var(--line); border-radius: .5rem; font-size: .8rem }
table { border-collapse: collapse; width: 100% } td { border-top: 1px solid var(--line); padding: .25rem .5rem .25rem 0;
vertical-align: top }
td:first-child { white-space: nowrap } figure { margin: 1rem 0 } svg { width: 100%; height: auto; max-width: 32rem }
"""


def to_page(card: Scorecard) -> str:
    """The whole page. What failed comes first and open, the rest by group and closed."""
    trouble = [result for result in card.results if result.outcome in (Outcome.FAIL, Outcome.ERROR)]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>imagecheck {escape(card.image.reference)}</title>",
        f'<meta name=viewport content="width=device-width, initial-scale=1"><style>{STYLE}</style>',
        f"<h1>{escape(card.image.reference)}</h1>",
        f"<p><small>{escape(card.image.id)}<br>judged {escape(card.started)} in {card.seconds:.0f} s</small>",
        totals(card),
        "<h2>What to do</h2>" + "".join(one(result, is_open=True) for result in trouble) if trouble else "",
        facts(card),
        curves(card),
        *(
            f"<h2>{escape(group)}</h2>" + "".join(one(result, is_open=False) for result in results)
            for group, results in groupby(card.results, key=lambda result: result.check.partition(".")[0])
        ),
        "</html>\n",
    ]
    return "\n".join(parts)


def totals(card: Scorecard) -> str:
    counts = ((outcome, len(card.with_outcome(outcome))) for outcome in Outcome)
    items = "".join(f"<li><b class={outcome}>{count}</b> {outcome}</li>" for outcome, count in counts)
    return f"<ul class=totals>{items}</ul>"


def one(result: Result, *, is_open: bool) -> str:
    evidence = {key: value for key, value in result.finding.evidence.items() if key != "log"}
    log = str(result.finding.evidence.get("log", "")).strip()
    return (
        f"<details class={result.outcome}{' open' if is_open else ''}><summary><b>{result.outcome}</b> "
        f"{escape(result.check)} <small>{result.seconds:.1f} s</small><br>{escape(result.finding.summary)}</summary>"
        f"<p class=quiet>{escape(result.promise)}</p>"
        + (f"<p>→ {escape(result.remedy)}</p>" if result.remedy else "")
        + (f"<pre>{escape(json.dumps(evidence, indent=1, default=str, ensure_ascii=False))}</pre>" if evidence else "")
        + (f"<pre>{escape(log)}</pre>" if log else "")
        + "</details>"
    )


def facts(card: Scorecard) -> str:
    image = card.image
    rows = {
        "size": f"{image.size / 1024**3:.2f} GiB in {len(image.layers)} layers",
        "user": image.user or "root",
        "command": image.start_command,
        **flat_facts(card.facts),
    }
    cells = "".join(f"<tr><td>{escape(name)}<td>{escape(told(value))}" for name, value in rows.items())
    return f"<h2>What it is</h2><table>{cells}</table>"


def curves(card: Scorecard) -> str:
    if not card.curves:
        return ""
    figures = (
        f"<figure><figcaption>{escape(name)}: {len(losses)} steps, {losses[0]:.3g} → {losses[-1]:.3g}</figcaption>"
        f"{to_svg(losses)}</figure>"
        for name, losses in card.curves.items()
    )
    return "<h2>Training</h2>" + "".join(figures)
