"""`workstation`: one command, one subcommand a concern. Each concern adds its own arguments and its own `run`."""

from __future__ import annotations

import argparse
import sys

from workstation import __version__
from workstation.errors import WorkstationError


def parser() -> argparse.ArgumentParser:
    # Imported here, not above: `workstation doctor` must answer on a machine where a chapter's import would fail.
    from workstation.doctor import command as doctor
    from workstation.examples import command as examples
    from workstation.llm import command as llm

    top = argparse.ArgumentParser(prog="workstation", description="The PyTorch workstation's own commands.")
    top.add_argument("--version", action="version", version=f"workstation {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    doctor.add_arguments(commands.add_parser("doctor", help=doctor.SUMMARY, description=doctor.SUMMARY))
    examples.add_arguments(commands.add_parser("examples", help=examples.SUMMARY, description=examples.SUMMARY))
    llm.add_arguments(commands.add_parser("llm", help=llm.SUMMARY, description=llm.SUMMARY))
    return top


def main() -> None:
    """Parse, run, exit: 0 when all is well, 2 for unusable arguments, the error's own code otherwise."""
    arguments = parser().parse_args()
    try:
        sys.exit(arguments.run(arguments))
    except WorkstationError as error:
        print(f"workstation: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
