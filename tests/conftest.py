"""What every test may ask for: the image under test, and whether a GPU is there."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from testcontainers.core.docker_client import DockerClient
from this_machine import DRIVER


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("torch-workstation")
    group.addoption("--require-gpu", action="store_true", help="a GPU test that would skip fails instead")
    group.addoption(
        "--workstation-image",
        default=os.environ.get("IMAGE", "torch-workstation:local"),
        help="the image whose promises are tested",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None or DRIVER.exists():
        return
    reason = f"no NVIDIA driver on this machine ({DRIVER} is missing)"
    if item.config.getoption("--require-gpu"):
        pytest.fail(f"--require-gpu: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--workstation-image"))


@pytest.fixture
def volume() -> Iterator[str]:
    """The name of a volume that is gone afterwards."""
    name = f"torch-workstation-test-{uuid.uuid4().hex[:8]}"
    client = DockerClient().client
    client.volumes.create(name)
    yield name
    client.volumes.get(name).remove(force=True)
