"""What a test made in Docker, taken away again."""

from __future__ import annotations

from testcontainers.core.docker_client import DockerClient


def remove_named(name: str) -> None:
    """Every container, volume and network with `name` in its name."""
    client = DockerClient().client
    for container in client.containers.list(all=True, ignore_removed=True, filters={"name": name}):
        container.remove(force=True)
    for volume in client.volumes.list(filters={"name": name}):
        volume.remove(force=True)
    for network in client.networks.list(names=[name]):
        network.remove()
