"""Stale bytecode is told from fresh, however it is validated."""

from __future__ import annotations

import os
import py_compile
from pathlib import Path

import pytest

from imagecheck.probes.bytecode import survey

MODES = list(py_compile.PycInvalidationMode)


def module(folder: Path, mode: py_compile.PycInvalidationMode) -> Path:
    source = folder / "module.py"
    source.write_text("answer = 42\n")
    py_compile.compile(str(source), invalidation_mode=mode, doraise=True)
    return source


@pytest.mark.parametrize("mode", MODES)
def test_fresh_bytecode_is_fresh(tmp_path: Path, mode: py_compile.PycInvalidationMode) -> None:
    module(tmp_path, mode)
    assert survey(tmp_path) == {"seen": 1, "without": 0, "stale_count": 0, "stale": []}


@pytest.mark.parametrize("mode", MODES)
def test_bytecode_of_a_changed_source_is_stale(tmp_path: Path, mode: py_compile.PycInvalidationMode) -> None:
    source = module(tmp_path, mode)
    source.write_text("answer = 43 + 1\n")
    assert survey(tmp_path)["stale"] == [str(source)]


def test_a_touched_source_makes_timestamped_bytecode_stale_and_hashed_not(tmp_path: Path) -> None:
    for mode, stale in zip(MODES, (1, 0, 0), strict=True):
        os.utime(module(tmp_path, mode), (1, 1))
        assert survey(tmp_path)["stale_count"] == stale, mode


def test_a_source_without_bytecode_is_counted(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("")
    assert survey(tmp_path)["without"] == 1
