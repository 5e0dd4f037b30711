"""The layers of an image, wherever it is: in an OCI layout's tar, in the engine, or in a registry."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

import zstandard

ZSTD_LEVEL = 9  # what docker-bake.hcl asks BuildKit for; its packer is another, so a release is near this, not equal
CHUNK = 1 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


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
        RepullError: the engine does not hand out the layers it names (65).
    """
    # An engine with overlay2 names a layer's file by what it holds; containerd's by how it is packed, which the
    # documents tell, and they may come last.
    sizes, documents = _saved(image.name, {_file(layer): layer for layer in wanted})
    (manifest,) = json.loads(documents["manifest.json"])
    config = json.loads(documents[manifest["Config"]])
    if sizes.keys() != wanted:
        named = zip(manifest["Layers"], config["rootfs"]["diff_ids"], strict=True)
        sizes, _ = _saved(image.name, {file: layer for file, layer in named if layer in wanted})
    if sizes.keys() != wanted:
        raise RepullError(
            f"this engine keeps back layers of {image.name}", "Compare the OCI tars it was built into", 65
        )
    rows = zip(image.layers, _makers(config["history"]), strict=True)
    return replace(
        image, layers=tuple(replace(layer, size=sizes.get(layer.unpacked), made_by=maker) for layer, maker in rows)
    )


def _saved(name: str, wanted: Mapping[str, str]) -> tuple[dict[str, int], dict[str, bytes]]:
    """From `docker save`: what the layers in these files weigh, by the name they are given here; and its documents."""
    sizes: dict[str, int] = {}
    documents: dict[str, bytes] = {}
    with subprocess.Popen(["docker", "save", name], stdout=subprocess.PIPE) as saved:
        assert saved.stdout is not None
        with tarfile.open(fileobj=saved.stdout, mode="r|") as archive:
            for entry in archive:
                file = archive.extractfile(entry) if entry.isfile() else None
                if file is not None and entry.name in wanted:
                    sizes[wanted[entry.name]] = _packed(_unpacked(cast("BufferedReader", file)))
                elif file is not None and entry.size < CHUNK:
                    documents[entry.name] = file.read()
    return sizes, documents


def _unpacked(layer: BufferedReader) -> IO[bytes]:
    start = layer.peek(len(ZSTD))
    if start.startswith(ZSTD):
        return zstandard.ZstdDecompressor().stream_reader(layer, read_across_frames=True)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=layer)) if start.startswith(GZIP) else layer


def _packed(layer: IO[bytes]) -> int:
    packer = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
    size = 0
    while chunk := layer.read(CHUNK):
        size += len(packer.compress(chunk))
    return size + len(packer.flush())


def _makers(history: list[dict[str, Any]]) -> list[str]:
    steps = [step.get("created_by") or "the base image" for step in history if not step.get("empty_layer")]
    return [" ".join(step.split()) for step in steps]


def _file(digest: str) -> str:
    """Where an OCI layout, which `docker save` writes since Docker 25, has a blob."""
    return f"blobs/{digest.replace(':', '/')}"


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
                return read(_file(digest))

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
