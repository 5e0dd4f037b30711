"""Reaching a container engine: Docker or Podman, here or at DOCKER_HOST."""

from __future__ import annotations

import os
from pathlib import Path

import docker
from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.docker_client import DockerClient

from imagecheck.errors import EngineError, UsageError

SECONDS_TO_ANSWER = 600  # `docker save` of a large image says nothing for a while


def connect(engine: str = "docker") -> docker.DockerClient:
    """A client of the engine that DOCKER_HOST, the current context or (for podman) its socket leads to.

    Raises:
        EngineError: nothing answers there.
        UsageError: `engine` is neither docker nor podman.
    """
    # Ryuk would have to be pulled; engine/reaper.py clears up by label instead.
    testcontainers_config.ryuk_disabled = True
    if engine == "podman":
        os.environ["DOCKER_HOST"] = os.environ.get("DOCKER_HOST") or f"unix://{podman_socket()}"
    elif engine != "docker":
        raise UsageError(f"no engine is called {engine!r}", remedy="Use --engine docker or --engine podman")
    try:
        client = DockerClient(timeout=SECONDS_TO_ANSWER).client
        client.ping()
    except DockerException as error:
        where = os.environ.get("DOCKER_HOST", "the default socket")
        raise EngineError(
            f"no container engine answers at {where} ({error})",
            remedy="Start it, set DOCKER_HOST, or ask to be let into the docker group",
        ) from error
    return client


def podman_socket() -> Path:
    """The API socket of `podman system service`: the user's own first, then the system's."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    places = [Path(runtime) / "podman" / "podman.sock", Path("/run/podman/podman.sock")]
    found = next((place for place in places if place.is_socket()), None)
    if found is None:
        raise EngineError(
            f"no podman socket at {' or '.join(map(str, places))}",
            remedy="systemctl --user start podman.socket, or podman system service --time 0 &",
        )
    return found


def is_local(client: docker.DockerClient) -> bool:
    """Whether the engine runs on this machine, so that its /proc is ours.

    docker-py shows a socket as http+docker://localhost, a pipe as http+docker://localnpipe, ssh as http+docker://ssh.
    """
    return str(client.api.base_url).startswith("http+docker://local")
