"""The faults' repeats, and the table that they are written to."""

from __future__ import annotations

from pathlib import Path

import pytest
from recovery_table import Record


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--repeats", type=int, default=1, help="how often each fault is done")
    parser.addoption("--record", type=Path, help="write the table of recovery times to this file")


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Record:
    return Record(request.config.getoption("--record"))
