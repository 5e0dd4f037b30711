"""The command line in the test's own process: importing torch anew for each would take longer than all of them."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import NamedTuple

import pytest

from workstation import cli


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def workstation(*arguments: object) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["workstation", *map(str, arguments)])
        patch.setattr(cli, "_leave", sys.exit)  # even a rank's process is still needed
        with pytest.raises(SystemExit) as left:
            cli.main()
    return Ran(left.value.code, out.getvalue(), err.getvalue())
