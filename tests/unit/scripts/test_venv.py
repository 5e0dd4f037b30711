"""scripts/venv: the host's tools in a .venv of the project's own, and nothing of anybody else's overwritten."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Load = Callable[[str], ModuleType]
Serve = Callable[[str, int, bytes], str]


@pytest.fixture
def project(checkout: Path) -> Path:
    (checkout / "requirements").mkdir()
    (checkout / "requirements" / "host.txt").write_text("# no tools\n")
    return checkout


def venv(project: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, project / "scripts" / "venv"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def stamp(project: Path) -> str:
    lock = (project / "requirements" / "host.txt").read_bytes()
    return hashlib.sha256(lock + sys.version.encode()).hexdigest()


def test_a_venv_it_did_not_make_is_refused_and_left_as_it_is(project: Path) -> None:
    foreign = project / ".venv" / "bin" / "mine"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("precious")
    done = venv(project)
    assert done.returncode == 73
    assert done.stderr.splitlines() == [
        f"venv: {project}/.venv was not made by this script. Move it away; it will not be overwritten"
    ]
    assert [file for file in (project / ".venv").rglob("*") if file.is_file()] == [foreign]
    assert foreign.read_text() == "precious"


def test_one_that_is_up_to_date_is_not_touched(project: Path) -> None:
    (project / ".venv").mkdir()
    (project / ".venv" / "lock.sha256").write_text(stamp(project))
    done = venv(project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [file.name for file in (project / ".venv").iterdir()] == ["lock.sha256"]


@pytest.mark.slow
def test_an_installation_that_failed_is_begun_again(project: Path) -> None:
    (project / "requirements" / "host.txt").write_text("no-such-tool==1.0 --hash=sha256:" + "0" * 64 + "\n")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    first = venv(project, **offline)
    assert first.returncode == 69
    assert "Traceback" not in first.stderr
    second = venv(project, **offline)
    assert second.returncode == 69  # and not 73: what is there is ours


def test_a_pip_that_was_changed_on_the_way_is_refused(
    project: Path, load: Load, serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load("venv")
    (project / ".venv").mkdir()
    files = [{"filename": script.PIP_WHEEL, "url": f"../../{script.PIP_WHEEL}"}]
    index = serve("/simple/pip/", 200, json.dumps({"files": files}).encode()).removesuffix("/pip/")
    serve(f"/{script.PIP_WHEEL}", 200, b"not pip")
    monkeypatch.setenv("PIP_INDEX_URL", index)
    with pytest.raises(SystemExit) as stopped:
        script.fetch_pip()
    assert stopped.value.code == 69
    assert "is not the pip that was reviewed" in capsys.readouterr().err
    assert list((project / ".venv").iterdir()) == []


def test_an_old_python_is_told_which_one_to_use(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load("venv")
    monkeypatch.setattr(sys, "version_info", (3, 10, 12))
    with pytest.raises(SystemExit) as stopped:
        script.main()
    assert stopped.value.code == 78
    assert "Python 3.11 or newer" in capsys.readouterr().err
