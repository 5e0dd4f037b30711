"""`workstation examples list` and `workstation examples run NAME`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from workstation.examples.catalog import CHAPTERS, Chapter, chapter
from workstation.training.metrics import as_numbers

SUMMARY = "run the article's worked examples, corrected and proven to converge"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    listing = commands.add_parser("list", help="name every example", description="Name every example.")
    listing.set_defaults(run=list_all)

    running = commands.add_parser(
        "run",
        help="run one example",
        description="Run one example. Exit code 0: it kept its promise; 1: it did not.",
    )
    running.add_argument("name", metavar="NAME", help="a name that `workstation examples list` shows")
    running.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: the GPU if any")
    running.add_argument("--seed", type=_natural, default=0, help="default: 0")
    running.add_argument("--epochs", type=_positive, help="default: as many as the example asks for")
    running.add_argument("--out", type=Path, metavar="DIR", help="a new directory; default: ~/runs/NAME/001, 002, …")
    running.add_argument("--json", action="store_true", help="print the metrics as JSON")
    running.set_defaults(run=run)


def list_all(_arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "example", "article", "notebook", box=None, pad_edge=False)
    for each in CHAPTERS:
        table.add_row(each.name, each.title, each.sections, each.notebook)
    Console().print(table)
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Run the example, keep its metrics, and say whether its promise held."""
    asked = chapter(arguments.name)
    # Only now: `--help` and `list` need no torch, and its import takes seconds.
    from workstation.training import device, rundir
    from workstation.training.progress import ProgressBar
    from workstation.training.settings import Settings

    settings = Settings(device.choose(arguments.device), arguments.seed, arguments.epochs)
    directory = rundir.create(asked.name, arguments.out)
    example = asked.load()
    began = time.perf_counter()
    metrics = example.run(settings, [ProgressBar()])
    report: dict[str, Any] = {
        "example": asked.name,
        "promise": example.PROMISE,
        "holds": metrics.holds(),
        "metrics": as_numbers(metrics),
        "device": device.describe(settings.device),
        "seed": settings.seed,
        "epochs": settings.epochs,
        "seconds": round(time.perf_counter() - began, 3),
    }
    rundir.write_json(directory / "metrics.json", report)
    if arguments.json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        _show(asked, report, directory)
    return 0 if report["holds"] else 1


def _show(asked: Chapter, report: dict[str, Any], directory: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value", title=f"{asked.title} on {report['device']}", title_justify="left")
    for name, value in report["metrics"].items():
        table.add_row(name.replace("_", " "), f"{value:,.6g}" if isinstance(value, float) else str(value))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    verdict = "[green]holds[/green]" if report["holds"] else "[red]does not hold[/red]"
    console.print(f"{verdict}: {report['promise']} (seed {report['seed']}, {report['seconds']} s)")
    console.print(f"kept in {directory}")


def _positive(text: str) -> int:
    number = _natural(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)
