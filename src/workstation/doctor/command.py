"""`workstation doctor`."""

from __future__ import annotations

import argparse
import os
import sys

SUMMARY = "Say what this machine can do, what is wrong with it, and how to mend it."
PIPED_WIDTH = 120  # `docker run` without -t has no terminal; rich would take 80 and break the remedies' commands


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--require-gpu", action="store_true", help="fail where no GPU can be used")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Examine and print; 1 when something failed, 0 otherwise."""
    # Here, not above: the other subcommands need none of it.
    from rich.console import Console

    from workstation.doctor.examination import examine, worst
    from workstation.doctor.finding import Status
    from workstation.doctor.machine import inspect
    from workstation.doctor.report import as_json, show

    with Console(stderr=True).status("importing torch, trying the compilers …"):
        machine = inspect()
    rows = examine(machine, require_gpu=arguments.require_gpu)
    if arguments.json:
        print(as_json(rows, machine))
    else:
        show(rows, Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH))
    return 1 if worst(rows) is Status.FAIL else 0
