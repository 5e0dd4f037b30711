"""SIGTERM: what a scheduler sends before it takes the machine away. It is no failure, and nothing is lost by it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from workstation.errors import WorkstationError


class Stopped(WorkstationError):  # noqa: N818 - it is none
    """Asked to stop, and stopped in good order."""

    exit_code = 0


@contextmanager
def stoppable() -> Iterator[None]:
    """Around a command that trains: SIGTERM ends it by `Stopped`, at once where no fit is under way to be saved."""

    def stop() -> None:
        raise Stopped("stopped by SIGTERM", remedy="Whatever was saved goes on with --resume.")

    restore = on_sigterm(stop)
    try:
        yield
    finally:
        restore()


def on_sigterm(act: Callable[[], None]) -> Callable[[], object]:
    """Call `act` at each SIGTERM until the returned function is called. Only the main thread can heed a signal."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None

    def handle(_number: int, _frame: FrameType | None) -> None:
        act()

    previous = signal.signal(signal.SIGTERM, handle)
    return lambda: signal.signal(signal.SIGTERM, previous)
