"""The Makefile's own lines: what they ask of Docker, and what they print of its answers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Program = Callable[[str, str], Path]
Make = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).resolve().parents[3]
DOCKER = """
echo "$@" >>"$here/docker.ran"
case "$*" in *logs*) cat "$here/logs" ;; esac
"""


@pytest.fixture
def make(tmp_path: Path, program: Program) -> Make:
    """`make TARGET` in a checkout that holds a Makefile alone; `logs` is what the Lab has printed."""
    shutil.copy(ROOT / "Makefile", tmp_path)

    def run(target: str, logs: str = "", answer: str = "") -> subprocess.CompletedProcess[str]:
        (program("docker", DOCKER) / "logs").write_text(logs)
        return subprocess.run(
            ["make", "--no-print-directory", target], cwd=tmp_path, input=answer, capture_output=True, text=True
        )

    return run


@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.1:8888/lab?token=0f18",
        "https://127.0.0.1:9000/a/base/lab?token=my%20own",
        "http://127.0.0.1:8888/lab  (the token is in /run/secrets/token)",
    ],
)
def test_the_link_is_the_one_that_the_lab_printed_last(make: Make, tmp_path: Path, link: str) -> None:
    (tmp_path / ".env").write_text("SHM_SIZE = 8gb\nPORT=1\nJUPYTER_TOKEN=$(touch executed)\n")
    lines = ["", "    http://127.0.0.1:8888/lab?token=of-old", "", f"    {link}", "", "[W] http://127.0.0.1:1/"]
    said = make("url", "".join(f"\x1b[2K{line}\n" for line in lines))  # Compose clears each line, in a pipe too
    assert (said.returncode, said.stdout, said.stderr) == (0, f"{link}\n", "")
    assert not (tmp_path / "executed").exists()


def test_without_a_lab_one_line_says_how_to_start_one(make: Make) -> None:
    said = make("url")
    assert said.returncode != 0
    assert said.stderr.splitlines()[0] == "No Lab has been started yet: make up"


def test_a_purge_deletes_the_image_whatever_its_name_is(make: Make, tmp_path: Path) -> None:
    """`--rmi local` spares an image that docker-compose.yml gives a name, and ours has one."""
    assert make("purge", answer="delete\n").returncode == 0
    assert (tmp_path / "bin" / "docker.ran").read_text() == "compose down --volumes --rmi all\n"


def test_a_purge_that_is_not_confirmed_deletes_nothing(make: Make, tmp_path: Path) -> None:
    assert make("purge", answer="yes\n").returncode != 0
    assert not (tmp_path / "bin" / "docker.ran").exists()
