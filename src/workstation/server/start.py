"""`workstation-start`, the container's entry point.

docker run IMAGE                    jupyter lab
docker run IMAGE --OPTION…          jupyter lab --OPTION…
docker run IMAGE COMMAND…           COMMAND…, in the same environment, with nothing printed and nothing copied
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from workstation import doctor
from workstation.errors import WorkstationError
from workstation.server import environment, home, hooks, notebooks, runtime
from workstation.server.request import HUB_COMMAND, asks_for_server
from workstation.server.settings import Settings


class CommandError(WorkstationError):
    """The command after the image's name is not in the image; 127 is what a shell says too."""

    exit_code = 127


def main() -> NoReturn:
    try:
        start(sys.argv[1:])
    except WorkstationError as error:
        print(f"workstation: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def start(arguments: Sequence[str]) -> NoReturn:
    os.environ.update(environment.prepared(os.environ))
    if not asks_for_server(arguments, os.environ):
        become(arguments)

    settings = Settings.from_environment(os.environ, [word for word in arguments if word != HUB_COMMAND])
    home.check(settings.home)
    notebooks.lay_out(settings.home)
    if settings.site:
        settings.site.make_ready()
        os.environ.update(settings.site.environment())
    hooks.run_all(settings.hooks, settings.home)
    os.environ["JUPYTER_RUNTIME_DIR"] = str(runtime.make(doctor.visible_gpu_count()))
    print(doctor.start_summary())
    if settings.site:
        print(f"\n    {settings.site.link()}\n")
    # The image's own program: a half-done `pip install --user` in the home must not keep the server from starting.
    become([str(Path(sys.executable).with_name(settings.program)), *settings.program_arguments()])


def become(command: Sequence[str]) -> NoReturn:
    """Replace this process by `command`. Raises CommandError."""
    sys.stdout.flush()
    # Python ignores these, and what is ignored stays so through exec: `yes | head` would complain.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(command[0], list(command))
    except OSError as error:
        raise CommandError(
            f"{command[0]} cannot be run: {error.strerror}",
            remedy="Give a command of this image, or none for JupyterLab",
        ) from error
