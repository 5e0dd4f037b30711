"""A probe's time is bounded inside the container, and its document is found whatever was printed before it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imagecheck.engine.container import Executed, ProbeError, read_report
from imagecheck.engine.probe_volume import PROBES


def supervise(code: str, limit: float = 20) -> Executed:
    command = [sys.executable, str(PROBES / "supervise.py"), str(limit), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return Executed(done.returncode, done.stdout, done.stderr)


def test_the_document_is_the_last_line() -> None:
    assert read_report("x", supervise("print('a library says hello'); print('{\"answer\": 42}')")) == {"answer": 42}


def test_a_probe_that_crashes_is_an_error_with_its_last_words() -> None:
    with pytest.raises(ProbeError, match="code 1 and no document") as error:
        read_report("x", supervise("raise SystemExit('no such library')"))
    assert "no such library" in error.value.log


def test_a_stuck_probe_is_ended_in_time_and_its_children_with_it(tmp_path: Path) -> None:
    note = tmp_path / "child"
    child = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with pytest.raises(ProbeError, match="ran out of its 2 s"):
        read_report("x", supervise(code, limit=2))
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and running(int(note.read_text())):
        time.sleep(0.02)
    assert not running(int(note.read_text()))


def running(pid: int) -> bool:
    """A killed child that nobody has waited for yet is no longer running."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_python_that_cannot_supervise_is_told_with_what_it_said() -> None:
    with pytest.raises(ProbeError, match="could not be supervised") as error:
        read_report("x", Executed(127, "", "exec format error"))
    assert "exec format error" in error.value.log


def test_every_probe_is_a_script_of_the_standard_library_and_torch_alone() -> None:
    allowed = {"torch", *sys.stdlib_module_names}
    for path in PROBES.glob("*.py"):
        listed = subprocess.run(
            [sys.executable, "-c", LIST_IMPORTS, str(path)], capture_output=True, text=True, check=True
        )
        assert set(json.loads(listed.stdout)) <= allowed, path.name


LIST_IMPORTS = """
import ast, json, sys
tree = ast.parse(open(sys.argv[1]).read())
found = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
found += [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
print(json.dumps(sorted({name.partition(".")[0] for name in found})))
"""
