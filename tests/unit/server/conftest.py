from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NOBODY = 65534


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


@pytest.fixture
def anyones(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory that another user can enter too; pytest's own are closed to all but the one who runs the tests."""
    directory = Path(tempfile.mkdtemp(prefix=f"{request.node.name[:40]}-"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def in_child() -> Callable[..., str]:
    """Run a function in a process of its own, as a user whom permissions bind; returns the exception it ended with."""

    def run(function: Callable[[], None], user: int = NOBODY) -> str:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                if os.getuid() == 0:
                    os.setgroups([])
                    os.setgid(user)
                    os.setuid(user)
                function()
            except BaseException as error:
                os.write(writer, f"{type(error).__name__}: {error}".encode())
            os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader) as answer:
            return answer.read()

    return run
