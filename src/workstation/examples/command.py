"""`workstation examples list` and `workstation examples run NAME`. No torch before a run: `--help` must be instant."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workstation.arguments import positive, refuse_with_resume, seed
from workstation.examples.catalog import CHAPTERS, Chapter, chapter

if TYPE_CHECKING:
    from workstation.examples.session import Session

VERDICTS = {True: "[green]holds[/green]", False: "[red]does not hold[/red]", None: "[yellow]not judged[/yellow]"}
SUMMARY = "run the article's worked examples, corrected and proven to converge"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    listing = commands.add_parser("list", help="name every example", description="Name every example.")
    listing.set_defaults(run=list_all)

    running = commands.add_parser(
        "run",
        help="run one example",
        description="Run one example. Exit code 0: it kept its promise, or with --data, where nothing may be promised, "
        "it ran to its end; 1: it did not keep it; 69: the data cannot be had.",
    )
    running.add_argument("name", metavar="NAME", help="a name that `workstation examples list` shows")
    running.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: the GPU if any")
    running.add_argument("--compile", action="store_true", help="torch.compile the model")
    running.add_argument("--amp", action="store_true", help="mixed precision; what is promised was measured without")
    running.add_argument("--shard", action="store_true", help="under torchrun: FSDP2, not DDP")
    running.add_argument("--seed", type=seed, help="default: 0")
    running.add_argument("--epochs", type=positive, help="default: as many as the example asks for")
    running.add_argument("--out", type=Path, metavar="DIR", help="a new directory; default: ~/runs/NAME/001, 002, …")
    running.add_argument(
        "--data",
        metavar="SET",
        help=f"public data in place of the example's own, fetched once ({'; '.join(_public_data())})",
    )
    running.add_argument("--resume", type=Path, metavar="DIR", help="go on with the stopped run in DIR")
    running.add_argument("--json", action="store_true", help="print the report as JSON")
    running.set_defaults(run=run)


def list_all(_arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "example", "article", box=None, pad_edge=False)
    for each in CHAPTERS:
        table.add_row(each.name, each.title, each.sections)
    console = Console()
    console.print(table)
    console.print(
        "\nWith a network, --data takes public data in place of an example's own:", *_public_data(), sep="\n  "
    )
    return 0


def _public_data() -> list[str]:
    return [f"{each.name}: {' or '.join(each.public)}" for each in CHAPTERS if each.public]


def run(arguments: argparse.Namespace) -> int:
    """Run the example, keep its metrics, and say whether its promise held. Under torchrun, rank 0 speaks for all."""
    asked = chapter(arguments.name)
    asked.check(arguments.data)
    from workstation.training import distributed
    from workstation.training.preemption import stoppable

    with stoppable(), distributed.joined(arguments.device) as device:
        session = _session(asked, arguments, device)
        try:
            report = session.run()
        except KeyboardInterrupt:
            again = f"workstation examples run {asked.name} --resume {session.directory}"
            print(f"\nworkstation: stopped. To go on: {again}", file=sys.stderr)
            raise
        if distributed.rank() != 0:
            return 0
    if arguments.json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        _show(asked.title, report, session.directory)
    return 1 if report["holds"] is False else 0


def _session(asked: Chapter, arguments: argparse.Namespace, device: Any) -> Session:
    from workstation.examples.session import Session
    from workstation.training.settings import Settings

    if arguments.resume:
        refuse_with_resume(arguments, ("seed", "epochs", "out", "compile", "amp", "data"))
        return Session.stopped(asked, arguments.resume, device, arguments.shard)
    chosen = (arguments.seed or 0, arguments.epochs, arguments.compile, arguments.amp, arguments.shard)
    if arguments.data:
        from workstation.examples.online import STUDIES

        STUDIES[arguments.data].at_hand()  # before the run has a directory: what cannot be had leaves none behind
    return Session.new(asked, Settings(device, *chosen), arguments.out, arguments.data)


def _show(title: str, report: dict[str, Any], directory: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value", title=f"{title}, on {report['device']}", title_justify="left")
    for name, value in report["metrics"].items():
        table.add_row(name.replace("_", " "), f"{value:,.6g}" if isinstance(value, float) else str(value))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(f"{VERDICTS[report['holds']]}: {report['promise']} (seed {report['seed']}, {report['seconds']} s)")
    console.print(f"data: {report['data']}")
    console.print(f"kept in {directory}")
