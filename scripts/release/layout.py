"""An OCI image in a tar file, and in what two of them differ."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Iterator
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
    manifest: dict[str, Any]
    config: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Image:
        """Raises ReleaseError where it is not a whole OCI layout."""
        try:
            with tarfile.open(path) as archive:
                (named,) = json.loads(_blob(archive, "index.json"))["manifests"]
                manifest = json.loads(_blob(archive, _name(named["digest"])))
                config = json.loads(_blob(archive, _name(manifest["config"]["digest"])))
        except (tarfile.TarError, KeyError, ValueError) as error:
            raise ReleaseError(
                f"{path} holds no whole image", "Delete it and build it again: make release", 65
            ) from error
        return cls(path, named["digest"], manifest, config)

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
        with tarfile.open(self.path) as archive:
            packed = archive.extractfile(_name(layer["digest"]))
            assert packed is not None
            with tarfile.open(fileobj=_unpacked(packed, layer["mediaType"]), mode="r|") as entries:
                return {entry.name: _fingerprint(entries, entry) for entry in entries}


def differences(first: Image, second: Image) -> Iterator[str]:
    """A line a difference, from the outside in. Nothing where both are the same image, to the bit."""
    if first.digest == second.digest:
        return
    for key in sorted(first.config.keys() | second.config.keys()):
        if key not in ("rootfs", "history") and first.config.get(key) != second.config.get(key):
            yield f"config.{key}: {first.config.get(key)} / {second.config.get(key)}"
    if len(first.layers) != len(second.layers):
        yield f"{len(first.layers)} layers / {len(second.layers)} layers"
    for number, (one, other, line) in enumerate(zip(first.layers, second.layers, first.made_by(), strict=False), 1):
        if one["digest"] != other["digest"]:
            yield f"layer {number}, {' '.join(line.split())[:70]}"
            yield from (f"    {each}" for each in _differing_files(first.files(one), second.files(other)))


def _differing_files(first: dict[str, str], second: dict[str, str]) -> Iterator[str]:
    for path in sorted(first.keys() | second.keys()):
        if first.get(path) != second.get(path):
            yield f"{path}: {first.get(path, 'not there')} / {second.get(path, 'not there')}"


def _name(digest: str) -> str:
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
