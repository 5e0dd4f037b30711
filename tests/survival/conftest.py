"""What happened under each fault, kept for docs/benchmarks/lab-faults.md."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from observations import PAGE, Observations


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help=f"write {PAGE.name}")
    parser.addoption("--kill-docker", action="store_true", help="also kill the Docker daemon and all containers")


@pytest.fixture(scope="session")
def observed(request: pytest.FixtureRequest) -> Iterator[Observations]:
    observations = Observations()
    yield observations
    if request.config.getoption("--record"):
        observations.write()


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can do this fault to a container from outside")
