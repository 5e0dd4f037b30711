"""An image that comes as a tar: `docker save`'s, or an OCI layout as buildx and skopeo write it."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import docker
from docker.errors import APIError

from imagecheck.errors import ImageNotFoundError, UsageError


@contextmanager
def loaded(client: docker.DockerClient, path: Path) -> Iterator[str]:
    """The ID of the one image in the tar, in the engine meanwhile; removed again unless it had been there before.

    Raises:
        UsageError: the file is no image, or holds several.
        ImageNotFoundError: the engine refused it.
    """
    before = {image.id for image in client.images.list(all=True)}
    found = load(client, path)
    try:
        yield found
    finally:
        if found not in before:
            client.images.remove(found, force=True)


def load(client: docker.DockerClient, path: Path) -> str:
    """Load the tar; returns the ID of its image. Raises what `loaded` raises."""
    try:
        with readable(path) as archive:
            images = client.images.load(archive)
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise UsageError(
            f"{path} is neither a docker save tar nor an OCI layout ({error})",
            remedy="Make it with docker save, or with buildx -o type=oci,dest=…",
        ) from error
    except APIError as error:
        raise ImageNotFoundError(
            f"the engine refused {path} ({error.explanation})", remedy="Load it by hand with docker load"
        ) from error
    if len(images) != 1 or images[0].id is None:
        raise UsageError(f"{path} holds {len(images)} images", remedy="Save one image to a tar")
    return images[0].id


@contextmanager
def readable(path: Path) -> Iterator[IO[bytes]]:
    """`path` as `docker load` takes it: as it is if it has a manifest.json, else with one made from its OCI index."""
    with tarfile.open(path) as archive:
        is_docker = "manifest.json" in archive.getnames()
        manifest = None if is_docker else json.dumps(docker_manifest(archive)).encode()
    if manifest is None:
        with path.open("rb") as plain:
            yield plain
        return
    with tempfile.TemporaryFile() as copy:
        with tarfile.open(path) as source, tarfile.open(fileobj=copy, mode="w") as target:
            for member in source:
                target.addfile(member, source.extractfile(member) if member.isfile() else None)
            added = tarfile.TarInfo("manifest.json")
            added.size = len(manifest)
            target.addfile(added, io.BytesIO(manifest))
        copy.seek(0)
        yield copy


def docker_manifest(archive: tarfile.TarFile) -> list[dict[str, Any]]:
    """manifest.json of an OCI layout (image-spec, image-layout.md). Raises ValueError where it holds no one image."""
    entry = one_image(read(archive, "index.json"))
    found = read(archive, blob(entry["digest"]))
    if "manifests" in found:  # an index within the index: one image for several platforms
        found = read(archive, blob(one_image(found)["digest"]))
    return [
        {
            "Config": blob(found["config"]["digest"]),
            "RepoTags": None,
            "Layers": [blob(layer["digest"]) for layer in found["layers"]],
        }
    ]


def one_image(index: dict[str, Any]) -> dict[str, Any]:
    """The image's entry in an index; attestations, whose platform is unknown, are none."""
    images: list[dict[str, Any]] = [
        entry for entry in index["manifests"] if entry.get("platform", {}).get("architecture") != "unknown"
    ]
    if len(images) != 1:
        raise ValueError(f"{len(images)} images in its index")
    return images[0]


def blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def read(archive: tarfile.TarFile, name: str) -> dict[str, Any]:
    file = archive.extractfile(name)
    assert file is not None
    document: dict[str, Any] = json.load(file)
    return document
