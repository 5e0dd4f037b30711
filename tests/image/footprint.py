"""What a Lab's server holds, and whether it is as it was.

The bounds leave room for what an allocator keeps, some 90 MiB after an upload of 1 GiB. A leak of 13 kB for each of ten
thousand requests, of an eighth of that upload, or of 0.7 MiB or a tenth of a file for each of 200 websockets is more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import requests
from lab import TOKEN, Lab

MORE_MEMORY_MIB = 128
MORE_FILES = 16
BACK_WITHIN_S = 30
ANSWERS_WITHIN_S = 10
HEADERS = {"Authorization": f"token {TOKEN}"}

# When the server started, the most memory it had since it was last asked, its memory now (kB), its open files.
FOOTPRINT = """
pid=$(pgrep --oldest --full bin/jupyter-lab) && cut --delimiter=' ' --fields=22 /proc/$pid/stat &&
sed --quiet 's/^\\(VmHWM\\|RssAnon\\):[^0-9]*//p' /proc/$pid/status && ls /proc/$pid/fd | wc --lines &&
echo 5 >/proc/$pid/clear_refs
"""


@dataclass(frozen=True)
class Footprint:
    started: int  # clock ticks since the boot
    peak_mib: float
    memory_mib: float
    files: int

    @classmethod
    def of(cls, running: Lab) -> Footprint:
        ran = running.run("sh", "-c", FOOTPRINT)
        assert ran.code == 0, ran.output
        started, peak, memory, files = (int(line.split()[0]) for line in ran.output.splitlines())
        return cls(started, peak / 1024, memory / 1024, files)

    def is_near(self, before: Footprint) -> bool:
        """The same process, with about what it held then."""
        return (
            self.started == before.started
            and self.memory_mib <= before.memory_mib + MORE_MEMORY_MIB
            and self.files <= before.files + MORE_FILES
        )


@contextlib.contextmanager
def surviving(running: Lab) -> Iterator[Footprint]:
    """After the block the server answers, is as it was before, and never wrote the token into its log."""
    status(running)
    before = Footprint.of(running)
    yield before
    came_back(running, before)
    container = running.container
    container.reload()
    assert (container.attrs["State"]["OOMKilled"], container.attrs["RestartCount"]) == (False, 0)
    log = container.logs().decode(errors="replace").partition("?token=")[2].partition("\n")[2]
    assert TOKEN not in log


def status(running: Lab) -> None:
    """Asked with the token, /api/status answers soon."""
    answer = requests.get(running.url("api/status"), headers=HEADERS, timeout=ANSWERS_WITHIN_S)
    assert answer.status_code == 200
    assert "started" in answer.json()


def came_back(running: Lab, before: Footprint) -> None:
    """A connection that ended is put away a little later."""

    def near() -> bool:
        status(running)
        return Footprint.of(running).is_near(before)

    running.wait_until(near, f"the server is as it was ({before})", BACK_WITHIN_S)
