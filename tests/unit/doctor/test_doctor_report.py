"""What a person and a program read, and the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from workstation.doctor.examination import SECTIONS, examine
from workstation.doctor.machine import Machine
from workstation.doctor.report import as_json, show
from workstation.doctor.units import MIB, size


def printed(machine: Machine, width: int = 120) -> str:
    console = Console(file=StringIO(), width=width)
    show(examine(machine), console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_table_has_a_line_for_every_check_and_counts_them(healthy: Machine) -> None:
    text = printed(replace(healthy, shm_bytes=64 * MIB))
    for section, checks in SECTIONS.items():
        assert section in text
        for check in checks:
            assert check.__name__.replace("_", " ") in text
    assert "→ docker run --shm-size 2g" in text
    assert f"{sum(map(len, SECTIONS.values())) - 1} OK, 1 WARN, 0 FAIL" in text


def test_square_brackets_in_a_finding_are_shown_as_they_are(healthy: Machine) -> None:
    """rich reads [red] as a colour, and drivers and compilers print brackets."""
    broken = replace(healthy, c_compiler=replace(healthy.c_compiler, error="error: [red] in x[0]"))
    assert "error: [red] in x[0]" in printed(broken)


def test_the_json_holds_the_verdict_the_versions_and_every_finding(healthy: Machine) -> None:
    machine = replace(healthy, shm_bytes=64 * MIB)
    report = json.loads(as_json(examine(machine), machine))
    assert report["status"] == "WARN"
    assert report["versions"]["torch"] == "2.14.1"
    assert report["versions"]["driver"] == "580.95.05"
    finding = next(finding for finding in report["findings"] if finding["check"] == "shared_memory")
    assert finding["status"] == "WARN"
    assert finding["section"] == "Machine"
    assert "--shm-size" in finding["remedy"]
    assert len(report["findings"]) == sum(map(len, SECTIONS.values()))


@pytest.fixture
def without_torch(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """An environment in which torch is not found, whether or not this Python has it."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    return environ | {"PYTHONPATH": f"{environ['PYTHONPATH']}:{tmp_path}"}


def doctor(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"""
import argparse
from workstation.doctor import command
parser = argparse.ArgumentParser()
command.add_arguments(parser)
arguments = parser.parse_args({list(arguments)!r})
raise SystemExit(arguments.run(arguments))
"""
    return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)


def test_a_machine_without_torch_fails_in_clear_words(without_torch: dict[str, str]) -> None:
    done = doctor(without_torch)
    assert done.returncode == 1
    assert "does not import: ModuleNotFoundError: No module named 'torch'" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr


def test_the_json_is_all_that_stands_on_stdout(without_torch: dict[str, str]) -> None:
    done = doctor(without_torch, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "FAIL"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("0 570.133.20\n0 85520809984 9 0 NVIDIA H100\n", "0: NVIDIA H100, 79.6 GiB, compute capability 9.0"),
        ("999 580.95.05\n", "nvidia-container-toolkit#48"),
    ],
)
def test_the_command_reports_what_the_driver_says(
    environ_with_driver: dict[str, str], driver_says: Callable[[str], None], answer: str, words: str
) -> None:
    driver_says(answer)
    assert words in " ".join(doctor(environ_with_driver | {"COLUMNS": "400"}).stdout.split())


@pytest.mark.parametrize(("count", "text"), [(64 * MIB, "64 MiB"), (1024 * MIB, "1.0 GiB"), (85520809984, "79.6 GiB")])
def test_sizes_read_as_people_say_them(count: int, text: str) -> None:
    assert size(count) == text
