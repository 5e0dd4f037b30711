"""The layers of an image, wherever it is: in an OCI layout's tar, in the engine, or in a registry."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import zstandard

ZSTD_LEVEL = 9  # what docker-bake.hcl asks BuildKit for; its packer is another, so a release is near this, not equal
CHUNK = 1 << 20


class RepullError(Exception):
    """One line with what to do, and the exit code."""

    def __init__(self, what: str, remedy: str, code: int) -> None:
        super().__init__(f"{what}. {remedy}")
        self.code = code


@dataclass(frozen=True)
class Layer:
    """`digest` and `size` are of what is pulled. An engine has layers unpacked: there they are None until weighed."""

    unpacked: str
    digest: str | None = None
    size: int | None = None
    made_by: str = ""


@dataclass(frozen=True)
class Image:
    name: str
    layers: tuple[Layer, ...]

    @property
    def is_packed(self) -> bool:
        return all(layer.digest for layer in self.layers)


def find(name: str) -> Image:
    """A file of that name, else the engine's image, else the registry's.

    Raises:
        RepullError: it is nowhere (66), or it cannot be read (65).
    """
    if Path(name).is_file():
        return _in_layout(Path(name))
    asked = subprocess.run(["docker", "image", "inspect", name], capture_output=True, text=True)
    if asked.returncode == 0:
        return Image(name, tuple(Layer(unpacked) for unpacked in json.loads(asked.stdout)[0]["RootFS"]["Layers"]))
    return _in_registry(name)


def weighed(image: Image, wanted: Set[str]) -> Image:
    """An engine's image with the size that each of the layers `wanted` would be released with; no other is packed.

    Raises:
        RepullError: the engine does not hand its layers out unpacked (65).
    """
    sizes: dict[str, int] = {}
    history: list[dict[str, Any]] = []
    with subprocess.Popen(["docker", "save", image.name], stdout=subprocess.PIPE) as saved:
        assert saved.stdout is not None
        with tarfile.open(fileobj=saved.stdout, mode="r|") as archive:
            for entry in archive:
                file = archive.extractfile(entry) if entry.isfile() else None
                digest = f"sha256:{Path(entry.name).name}"
                if file is not None and digest in wanted:
                    sizes[digest] = _packed(file)
                elif file is not None and entry.size < CHUNK:
                    history = _history(file.read()) or history
    if wanted - sizes.keys():
        raise RepullError(f"this engine keeps {image.name} packed", "Compare the OCI tars it was built into", 65)
    rows = zip(image.layers, _makers(history), strict=True)
    return replace(
        image, layers=tuple(replace(layer, size=sizes.get(layer.unpacked), made_by=maker) for layer, maker in rows)
    )


def _packed(layer: IO[bytes]) -> int:
    packer = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
    size = 0
    while chunk := layer.read(CHUNK):
        size += len(packer.compress(chunk))
    return size + len(packer.flush())


def _history(blob: bytes) -> list[dict[str, Any]]:
    """An image's configuration among the small files of a `docker save`."""
    if not blob.startswith(b"{"):
        return []
    document = json.loads(blob)
    return list(document["history"]) if "rootfs" in document else []


def _makers(history: list[dict[str, Any]]) -> list[str]:
    steps = [step.get("created_by") or "the base image" for step in history if not step.get("empty_layer")]
    return [" ".join(step.split()) for step in steps]


def _of_manifest(name: str, manifest: dict[str, Any], blob: Callable[[str], bytes]) -> Image:
    config = json.loads(blob(manifest["config"]["digest"]))
    rows = zip(config["rootfs"]["diff_ids"], manifest["layers"], _makers(config["history"]), strict=True)
    return Image(name, tuple(Layer(unpacked, each["digest"], each["size"], maker) for unpacked, each, maker in rows))


def _in_layout(path: Path) -> Image:
    try:
        with tarfile.open(path, "r:") as archive:

            def read(name: str) -> bytes:
                file = archive.extractfile(name)
                assert file is not None
                return file.read()

            def blob(digest: str) -> bytes:
                return read(f"blobs/{digest.replace(':', '/')}")

            (named,) = json.loads(read("index.json"))["manifests"]
            return _of_manifest(str(path), json.loads(blob(named["digest"])), blob)
    except (OSError, KeyError, ValueError, AssertionError, tarfile.TarError) as error:
        raise RepullError(f"{path} holds no OCI image: {error}", "`make release` writes one", 65) from error


def _repository(name: str) -> tuple[str, bool]:
    """Without tag and digest, and whether there was one; a port is no tag."""
    repository, at, _ = name.partition("@")
    host, slash, last = repository.rpartition("/")
    last, colon, _ = last.partition(":")
    return host + slash + last, bool(at or colon)


def _in_registry(name: str) -> Image:
    if shutil.which("oras") is None:
        raise RepullError(f"there is no file and no image {name} here", "For a registry's: apt-get install oras", 66)

    def ask(*arguments: str) -> bytes:
        done = subprocess.run(["oras", *arguments], capture_output=True)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()[:1]
            raise RepullError(
                f"{name} is no file, no image here, and in no registry: {' '.join(said)}", "Look it up", 66
            )
        return done.stdout

    repository, is_tagged = _repository(name)
    manifest = json.loads(ask("manifest", "fetch", name if is_tagged else f"{name}:latest"))  # as Docker reads it
    if "config" not in manifest:
        raise RepullError(f"{name} is of several platforms", "Name one of them, by its tag or digest", 65)
    return _of_manifest(name, manifest, lambda digest: ask("blob", "fetch", "--output", "-", f"{repository}@{digest}"))
