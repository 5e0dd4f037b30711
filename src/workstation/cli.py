"""`workstation`: one command, one subcommand a concern. Each concern adds its own arguments and its own `run`."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
from typing import NoReturn

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
        code = arguments.run(arguments)
    except WorkstationError as error:
        sys.stderr.write(f"workstation: {error}\n")  # in one piece: a job's processes share the terminal
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    if "RANK" in os.environ:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """End a process of a job, as multiprocessing ends its own: all but the taking down of Python itself.

    DTensor's caches keep a process group, and so its threads, to the end. One that lets go of a tensor while Python is
    going down aborts a run that had succeeded: https://github.com/pytorch/pytorch/issues/190489
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
