"""One registry and one key pair for every test that publishes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from publishing import Publisher
from registry import path_with_tools, running_registry


@pytest.fixture(scope="session")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publisher]:
    folder = tmp_path_factory.mktemp("publish")
    environment = {"PATH": path_with_tools(), "COSIGN_PASSWORD": ""}
    with running_registry(folder, environment["PATH"]) as registry:
        publisher = Publisher(registry, folder, environment)
        publisher.run("cosign", "generate-key-pair", cwd=folder)
        yield publisher


@pytest.fixture(scope="session")
def published(publisher: Publisher) -> str:
    """The reference of an image that a test only looks at."""
    reference = f"{publisher.registry.address}/test/published:1"
    publisher.push(reference)
    return reference


@pytest.fixture
def reference(publisher: Publisher) -> str:
    """A name of its own for each test."""
    return f"{publisher.registry.address}/test/{uuid.uuid4().hex[:8]}:1"
