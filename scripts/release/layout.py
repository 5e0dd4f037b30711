"""An OCI image in a tar file, and in what two of them differ."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

import zstandard
from engine import ReleaseError


@dataclass(frozen=True)
class Image:
    """The one image that an OCI layout holds."""

    path: Path
    digest: str  # of its manifest: what a registry calls the image
    index: dict[str, Any]
    manifest: dict[str, Any]
    config: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Image:
        """Raises ReleaseError where it is not a whole OCI layout."""
        try:
            with tarfile.open(path) as archive:
                index = json.loads(_blob(archive, "index.json"))
                (named,) = index["manifests"]
                manifest = json.loads(_blob(archive, blob_name(named["digest"])))
                config = json.loads(_blob(archive, blob_name(manifest["config"]["digest"])))
        except (tarfile.TarError, KeyError, ValueError) as error:
            raise ReleaseError(
                f"{path} holds no whole image", "Delete it and build it again: make release", 65
            ) from error
        return cls(path, named["digest"], index, manifest, config)

    @property
    def layers(self) -> list[dict[str, Any]]:
        """Digest, media type and compressed size of each, the base's first."""
        return list(self.manifest["layers"])

    def made_by(self) -> list[str]:
        """The Dockerfile line of each layer."""
        return [
            step.get("created_by", "the base image") for step in self.config["history"] if not step.get("empty_layer")
        ]

    def files(self, layer: dict[str, Any]) -> dict[str, str]:
        """Path to what tells one file from another: kind, mode, owner, time, content."""
        with self._entries(layer) as entries:
            return {entry.name: _fingerprint(entries, entry) for entry in entries}

    def text(self, name: str) -> str | None:
        """What the file called `name` holds; None where no layer has it."""
        for layer in reversed(self.layers):
            content = self.content(layer, name)
            if content is not None:
                return content.decode()
        return None

    def content(self, layer: dict[str, Any], name: str) -> bytes | None:
        """Of the file `name` in this layer; None where it has none."""
        with self._entries(layer) as entries:
            for entry in entries:
                if entry.name.removeprefix("./") == name and entry.isfile():
                    return cast("BufferedReader", entries.extractfile(entry)).read()
        return None

    @contextmanager
    def _entries(self, layer: dict[str, Any]) -> Iterator[tarfile.TarFile]:
        with tarfile.open(self.path) as archive:
            packed = archive.extractfile(blob_name(layer["digest"]))
            assert packed is not None
            with tarfile.open(fileobj=_unpacked(packed, layer["mediaType"]), mode="r|") as entries:
                yield entries


def differences(first: Image, second: Image) -> Iterator[str]:
    """A line a difference, from the outside in: none where both are the same to the bit, and at least one otherwise."""
    if first.digest == second.digest:
        return
    yield f"digest: {first.digest} / {second.digest}"
    for what, one, other in (("manifest", first.manifest, second.manifest), ("config", first.config, second.config)):
        for key in sorted(one.keys() | other.keys()):
            # Of those, the layers below say more.
            if key not in ("config", "layers", "rootfs") and one.get(key) != other.get(key):
                yield f"{what}.{key}: {one.get(key)} / {other.get(key)}"
    yield from _options(first.config["config"], second.config["config"])
    if len(first.layers) != len(second.layers):
        yield f"{len(first.layers)} layers / {len(second.layers)} layers"
    for number, (one, other) in enumerate(zip(first.layers, second.layers, strict=False), 1):
        if one == other:
            continue
        made_by = first.made_by()[number - 1 : number]
        yield f"layer {number}, {' '.join(' '.join(made_by).split())[:70]}"
        if one["digest"] == other["digest"]:
            yield f"    {one} / {other}"
        else:
            yield from (f"    {line}" for line in _differing_files(first, one, second, other))


def _options(first: dict[str, Any], second: dict[str, Any]) -> Iterator[str]:
    for key in sorted(first.keys() | second.keys()):
        if first.get(key) != second.get(key):
            yield f"config.config.{key}: {first.get(key)} / {second.get(key)}"


def _differing_files(first: Image, one: dict[str, Any], second: Image, other: dict[str, Any]) -> Iterator[str]:
    before, after = first.files(one), second.files(other)
    diffoscope = shutil.which("diffoscope")
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            yield f"{path}: {before.get(path, 'not there')} / {after.get(path, 'not there')}"
            if diffoscope is not None:  # to have a file's content, a layer of gigabytes is read
                yield from _inside(diffoscope, first.content(one, path), second.content(other, path))


def _inside(diffoscope: str, first: bytes | None, second: bytes | None) -> Iterator[str]:
    """What diffoscope says of two contents that differ: it reads archives, libraries, .pyc."""
    if first is None or second is None or first == second:
        return
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("first", "second")]
        for file, content in zip(files, (first, second), strict=True):
            file.write_bytes(content)
        # It ends with 1 where they differ.
        told = subprocess.run([diffoscope, "--max-report-size", "4000", *files], capture_output=True, text=True)
    yield from (f"    {line}" for line in (told.stdout or told.stderr).splitlines())


def blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _blob(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, name
    return file.read()


def _unpacked(packed: IO[bytes], media_type: str) -> IO[bytes] | gzip.GzipFile:
    if media_type.endswith("+zstd"):
        return zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
    return gzip.GzipFile(fileobj=packed) if media_type.endswith("gzip") else packed


def _fingerprint(entries: tarfile.TarFile, entry: tarfile.TarInfo) -> str:
    file = cast("BufferedReader", entries.extractfile(entry)) if entry.isfile() else None
    content = hashlib.file_digest(file, "sha256").hexdigest()[:12] if file else entry.linkname
    kind = entry.type.decode()
    return f"type {kind} mode {entry.mode:o} owner {entry.uid}:{entry.gid} time {entry.mtime:.0f} {content}".rstrip()
