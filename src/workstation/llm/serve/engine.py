"""Who is answered when. One thread computes; requests under way take turns, a token each; the others wait in line.

Turns keep a short answer from waiting for a long one. They are not batched: for many users at once, give the exported
directory to a server made for that.
"""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from workstation.llm.causal import Causal
from workstation.llm.serve.answer import Asked, Piece, answer

Deliver = Callable[["Piece | Exception"], object]


class BusyError(Exception):
    """The line is full, or closed for good."""

    def __init__(self, *, closing: bool, retry_after: int) -> None:
        super().__init__("the server is stopping" if closing else "too many requests are waiting")
        self.closing = closing
        self.retry_after = retry_after  # seconds


@dataclass(eq=False)
class Job:
    """A request in the engine's hands."""

    pieces: Iterator[Piece]
    deliver: Deliver
    began: float = field(default_factory=time.monotonic)
    unwanted: bool = False

    def cancel(self) -> None:
        """Nobody listens any more: no further token is computed."""
        self.unwanted = True


class Engine:
    """Start it once; `submit` from any thread."""

    def __init__(self, causal: Causal, *, together: int, waiting: int) -> None:
        self.causal = causal
        self._together, self._room = together, together + waiting
        self._jobs: deque[Job] = deque()  # the first `together` are under way
        self._changed = threading.Condition()
        self._closing = self._closed = False
        self._seconds = 1.0  # that an answer takes, as the last ones did
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def jobs(self) -> int:
        """Requests under way or in line whose clients still listen."""
        with self._changed:
            return sum(not job.unwanted for job in self._jobs)

    def submit(self, asked: Asked, deliver: Deliver) -> Job:
        """Answer it in turn; `deliver` gets each piece, in the engine's thread. Raises BusyError."""
        with self._changed:
            if self._closing or self.jobs >= self._room:
                raise BusyError(closing=self._closing, retry_after=math.ceil(self._seconds))
            job = Job(answer(self.causal, asked), deliver)
            self._jobs.append(job)
            self._changed.notify_all()
            return job

    def refuse(self) -> None:
        """Take no more; what is here goes on."""
        with self._changed:
            self._closing = True

    def close(self) -> None:
        """Drop what is left."""
        with self._changed:
            self._closing = self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                # Who left the line gives up the place: the next moves up at once.
                self._jobs = deque(job for job in self._jobs if not job.unwanted)
                turn = list(self._jobs)[: self._together]
            for job in turn:
                if self._step(job):
                    with self._changed:
                        self._jobs.remove(job)

    def _step(self, job: Job) -> bool:
        """One token for it; whether that was all."""
        if job.unwanted:
            return True
        try:
            piece = next(job.pieces)
        except Exception as error:  # of this request alone: the others go on
            traceback.print_exc()
            job.deliver(error)
            return True
        job.deliver(piece)
        if piece.finish is not None:
            self._seconds = 0.8 * self._seconds + 0.2 * (time.monotonic() - job.began)
        return piece.finish is not None
