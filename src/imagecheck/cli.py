"""`imagecheck IMAGE`, `imagecheck list`.

Exit codes: 0 every check passed or does not apply; 1 a check failed; 3 none failed, one could not be judged; 2 wrong
usage; 66 no such image; 69 no container engine; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from imagecheck.errors import ImagecheckError
from imagecheck.registry import every_check
from imagecheck.report.document import to_document
from imagecheck.report.terminal import Terminal
from imagecheck.settings import Gpu, Settings, parse_size
from imagecheck.suite import judge

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _interrupt)  # CI's cancel: containers are removed as on Ctrl-C
    try:
        if words[:1] == ["list"]:
            return list_checks()
        return judge_image(parser().parse_args(words))
    except ImagecheckError as error:
        print(f"imagecheck: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("imagecheck: interrupted; what it had started is removed", file=sys.stderr)
        return INTERRUPTED


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def parser() -> argparse.ArgumentParser:
    """The options of `imagecheck IMAGE`; the defaults are those of Settings."""
    default = Settings()
    parse = argparse.ArgumentParser(
        prog="imagecheck",
        description="Boot a PyTorch image and judge, with evidence, whether it is fit to work on.",
        epilog="Exit codes: 0 passed, 1 failed, 3 undecided, 2 usage, 66 no image, 69 no engine, 130 interrupted.",
    )
    parse.add_argument("image", help="a reference or an ID that the engine holds")
    parse.add_argument("--only", type=names, default=(), metavar="NAME,…", help="these checks or groups alone")
    parse.add_argument("--deselect", type=names, default=(), metavar="NAME,…", help="all but these")
    parse.add_argument("--require", type=names, default=(), metavar="NAME,…", help="a skip of these is a failure")
    parse.add_argument("--gpu", type=Gpu, choices=list(Gpu), default=default.gpu)
    parse.add_argument("--gpus", type=int, metavar="N", help="how many GPUs the image must see (default: the host's)")
    parse.add_argument("--timeout", type=float, default=default.timeout, metavar="S", help="seconds for one probe")
    parse.add_argument("--shm-size", type=parse_size, default=default.shm_size, metavar="SIZE")
    parse.add_argument("--max-size", type=parse_size, default=default.max_size, metavar="SIZE")
    parse.add_argument("--start-limit", type=float, default=default.start_limit, metavar="S")
    parse.add_argument("--stop-limit", type=float, default=default.stop_limit, metavar="S")
    parse.add_argument(
        "--server-port", type=int, metavar="PORT", help="where its Jupyter listens, if it is not exposed"
    )
    parse.add_argument("--notebook", type=Path, help="a notebook to run through the image's server")
    parse.add_argument("--keep", action="store_true", help="leave the containers for a look")
    parse.add_argument("--pull", action="store_true", help="pull the image first; it is never pulled otherwise")
    parse.add_argument("--engine", choices=("docker", "podman"), default=default.engine)
    parse.add_argument("--json", type=Path, metavar="FILE")
    return parse


def judge_image(options: argparse.Namespace) -> int:
    chosen = {name: value for name, value in vars(options).items() if name in Settings.__dataclass_fields__}
    terminal = Terminal(Console(stderr=False))
    card = judge(options.image, Settings(**chosen), terminal.progress)
    terminal.verdict(card)
    if options.json:
        options.json.write_text(json.dumps(to_document(card), indent=1, default=str) + "\n", encoding="utf-8")
    return card.exit_code


def list_checks() -> int:
    for check in every_check():
        print(f"{check.id:<26} {check.promise}")
    return 0
