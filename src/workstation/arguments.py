"""What more than one command asks of its arguments. No torch here: `--help` must be instant."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from workstation.errors import SettingError


def natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def seed(text: str) -> int:
    """NumPy's generator takes no larger one."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def refuse_with_resume(arguments: argparse.Namespace, names: Iterable[str]) -> None:
    """SettingError where one of them was given: a run goes on with what it began with."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value is not False:  # 0 is a seed
            raise SettingError(
                f"--{name.replace('_', '-')} with --resume", remedy="A resumed run keeps the settings it began with."
            )
