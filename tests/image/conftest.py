"""One Lab a session for every test that only looks; a test that changes settings starts its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from docker.errors import ImageNotFound
from lab import Lab, lab
from testcontainers.core.docker_client import DockerClient
from this_machine import gpus


@pytest.fixture(scope="session", autouse=True)
def _image_is_built(image: str) -> None:
    try:
        DockerClient().client.images.get(image)
    except ImageNotFound:
        pytest.exit(f"there is no image {image}: run `make build`, or name another with --workstation-image", 3)


@pytest.fixture(scope="session")
def running(image: str) -> Iterator[Lab]:
    with lab(image, shm_size="1g", device_requests=gpus()) as started:
        yield started
