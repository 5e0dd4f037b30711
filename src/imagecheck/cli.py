"""`imagecheck IMAGE`, `imagecheck compare A B`, `imagecheck list`.

Exit codes: 0 every check passed or does not apply; 1 a check failed; 3 none failed, one could not be judged; 2 wrong
usage; 66 no such image; 69 no container engine; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from imagecheck.errors import ImagecheckError, UsageError
from imagecheck.registry import every_check
from imagecheck.report import comparison
from imagecheck.report.document import SCHEMA, to_document
from imagecheck.report.junit import to_junit
from imagecheck.report.page import to_page
from imagecheck.report.terminal import Terminal
from imagecheck.scorecard import Scorecard
from imagecheck.settings import Gpu, Settings, parse_size
from imagecheck.suite import judge

INTERRUPTED = 130
REPORTS: Mapping[str, Callable[[Scorecard], str]] = {
    "json": lambda card: json.dumps(to_document(card), indent=1, default=str) + "\n",
    "junit": to_junit,
    "html": to_page,
}


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _interrupt)  # CI's cancel: containers are removed as on Ctrl-C
    try:
        if words[:1] == ["list"]:
            return list_checks()
        if words[:1] == ["compare"]:
            return compare_images(comparison_parser().parse_args(words[1:]))
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
        usage="imagecheck [options] IMAGE | imagecheck compare A B | imagecheck list",
        description="Boot a PyTorch image and judge, with evidence, whether it is fit to work on.",
        epilog="Exit codes: 0 passed, 1 failed, 3 undecided, 2 usage, 66 no image, 69 no engine, 130 interrupted.",
    )
    parse.add_argument("image", help="a reference or an ID that the engine holds, or a docker save or OCI tar")
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
    for form in REPORTS:
        parse.add_argument(f"--{form}", type=Path, metavar="FILE", help=f"write the scorecard as {form.upper()} too")
    return parse


def comparison_parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(prog="imagecheck compare", description="Two images side by side.")
    for name in ("one", "other"):
        parse.add_argument(name, metavar=name.upper(), help="an image, or the file that --json wrote of one")
    return parse


def judge_image(options: argparse.Namespace) -> int:
    chosen = {name: value for name, value in vars(options).items() if name in Settings.__dataclass_fields__}
    for form in REPORTS:
        path = vars(options)[form]
        if path and not path.absolute().parent.is_dir():
            raise UsageError(f"--{form} {path}: there is no such folder", remedy="Make it first")
    terminal = Terminal(Console())
    card = judge(options.image, Settings(**chosen), terminal.progress)
    terminal.verdict(card)
    for form, render in REPORTS.items():
        if path := vars(options)[form]:
            path.write_text(render(card), encoding="utf-8")
    return card.exit_code


def compare_images(options: argparse.Namespace) -> int:
    console = Console()
    console.print(comparison.compare(card_of(options.one, console), card_of(options.other, console)))
    return 0


def card_of(source: str, console: Console) -> Mapping[str, Any]:
    """The document of a report file, or of an image that is judged now. Raises ImagecheckError."""
    if not source.endswith(".json"):
        return to_document(judge(source, Settings(), Terminal(console).progress))
    try:
        document: Mapping[str, Any] = json.loads(Path(source).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{source} cannot be read ({error})", remedy="Give what --json wrote, or an image") from error
    if document.get("schema") != SCHEMA:
        raise UsageError(f"{source} is not a scorecard of this version", remedy="Judge the image again with --json")
    return document


def list_checks() -> int:
    for check in every_check():
        print(f"{check.id:<26} {check.promise}")
    return 0
