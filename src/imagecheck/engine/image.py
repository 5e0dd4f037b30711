"""What the engine knows of an image before anything is started from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound

from imagecheck.errors import ImageNotFoundError


@dataclass(frozen=True)
class Image:
    """An image in the engine. `id` is the digest of its configuration, or in containerd's store of its manifest."""

    reference: str
    id: str
    digests: tuple[str, ...]
    size: int
    layers: tuple[str, ...]
    environment: Mapping[str, str]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    user: str
    ports: tuple[int, ...]
    history: tuple[str, ...]
    architecture: str

    @property
    def start_command(self) -> str:
        return " ".join((*self.entrypoint, *self.command))

    @classmethod
    def from_inspection(cls, reference: str, facts: Mapping[str, Any], history: tuple[str, ...] = ()) -> Image:
        """From `docker image inspect`'s document and the commands of `docker history`, newest first."""
        config = facts.get("Config") or {}
        return cls(
            reference=reference,
            id=facts["Id"],
            digests=tuple(facts.get("RepoDigests") or ()),
            size=facts.get("Size", 0),
            layers=tuple((facts.get("RootFS") or {}).get("Layers") or ()),
            environment=dict(entry.partition("=")[::2] for entry in config.get("Env") or ()),
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            user=config.get("User") or "",
            ports=tuple(sorted(int(port.partition("/")[0]) for port in config.get("ExposedPorts") or {})),
            history=history,
            architecture=facts.get("Architecture", ""),
        )


def find_image(client: docker.DockerClient, reference: str, *, pull: bool) -> Image:
    """The image called `reference` in the engine; pulled first only where `pull` says so.

    Raises:
        ImageNotFoundError: it is not there, or could not be pulled.
    """
    if pull:
        try:
            client.images.pull(reference)
        except APIError as error:
            raise ImageNotFoundError(
                f"{reference} could not be pulled ({error.explanation})",
                remedy="Check its name, or drop --pull to judge what the engine holds",
            ) from error
    try:
        found = client.images.get(reference)
    except (ImageNotFound, APIError) as error:
        raise ImageNotFoundError(
            f"the engine holds no image {reference}", remedy="Build it, load it, or let it be pulled with --pull"
        ) from error
    history = tuple(step.get("CreatedBy") or "" for step in found.history())
    return Image.from_inspection(reference, found.attrs, history)
