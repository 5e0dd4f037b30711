"""Every file of every layer, read once from the stream the engine exports; nothing is unpacked."""

from __future__ import annotations

import io
import json
import posixpath
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from typing import IO, cast

from imagecheck.engine.packing import DAMAGED, is_layer, unpacked

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
BUFFER = 1 << 20
SECRET_TEXT = re.compile(
    rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|hf_[A-Za-z]{34}|"
    rb"npm_[A-Za-z0-9]{36}|xox[bp]-[0-9A-Za-z-]{20,}"
)
# Packages ship test keys; people leave theirs in the places below.
HOME_OF_SECRETS = re.compile(r"^(root|home|etc|app|workspace|work|srv|tmp|run|data|code|opt/[^/]+)/(?!.*-packages/)")
LONGEST_SECRET_FILE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or link of a layer. `path` has no leading slash; `mode` holds the permission bits alone."""

    path: str
    kind: str  # "file", "folder", "link", "other"
    mode: int
    uid: int
    size: int
    secret: str = ""  # what its text gives away, if it does

    @property
    def world_writable(self) -> bool:
        return bool(self.mode & 0o002) and self.kind in ("file", "folder")


@dataclass(frozen=True)
class Layer:
    """One layer, lowest first in an image; `size` is what its files weigh unpacked."""

    digest: str
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True)
class Contents:
    """The layers of an image, and what is left to see when they lie over each other."""

    layers: tuple[Layer, ...]
    visible: Mapping[str, Entry] = field(default_factory=dict)

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> Contents:
        return cls(tuple(layers), merge(layers))

    @property
    def hidden_bytes(self) -> int:
        """What lower layers carry that upper ones delete or replace: it is downloaded and never seen."""
        return sum(layer.size for layer in self.layers) - sum(entry.size for entry in self.visible.values())


def merge(layers: Iterable[Layer]) -> dict[str, Entry]:
    """What a container sees: upper files replace lower ones, whiteouts remove them (OCI image-spec, layer.md)."""
    visible: dict[str, Entry] = {}
    for layer in layers:
        doomed = tuple(_whited_out(layer.entries))
        if doomed:
            folders = tuple(f"{path}/" for path, whole in doomed if whole)
            single = {path for path, whole in doomed if whole is not None and path}
            visible = {
                path: entry for path, entry in visible.items() if path not in single and not path.startswith(folders)
            }
        visible.update((entry.path, entry) for entry in layer.entries if not _is_whiteout(entry.path))
    return visible


def _is_whiteout(path: str) -> bool:
    return posixpath.basename(path).startswith(WHITEOUT)


def _whited_out(entries: Iterable[Entry]) -> Iterator[tuple[str, bool]]:
    """(path, True): all below it goes. An opaque marker spares the folder itself, which this layer brings anyway."""
    for entry in entries:
        folder, name = posixpath.split(entry.path)
        if name == OPAQUE:
            yield folder, True
        elif name.startswith(WHITEOUT):
            yield posixpath.join(folder, name.removeprefix(WHITEOUT)), True


def read_export(chunks: Iterable[bytes]) -> Contents:
    """The contents of an image from what `docker save` streams.

    Raises:
        ValueError: the stream holds no manifest, or not the layers it names.
    """
    layers: dict[str, Layer] = {}
    documents: dict[str, bytes] = {}
    links: dict[str, str] = {}
    with tarfile.open(fileobj=Stream(chunks), mode="r|", bufsize=BUFFER) as export:
        for member in export:
            if member.issym():  # the classic format links layers that several images share
                links[member.name] = posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname))
            if not member.isfile():
                continue
            content = cast("BufferedReader", export.extractfile(member))
            if is_layer(content):
                layers[member.name] = read_layer(member.name, unpacked(content))
            else:
                documents[member.name] = content.read()
    if "manifest.json" not in documents:
        raise ValueError("the export holds no manifest.json")
    names = json.loads(documents["manifest.json"])[0]["Layers"]
    return Contents.of([layers[links.get(name, name)] for name in names])


def read_layer(name: str, stream: IO[bytes]) -> Layer:
    """One layer's tar. Raises ValueError where it does not unpack to its end."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=BUFFER) as layer:
            entries = tuple(_entry(layer, member) for member in layer)
    except DAMAGED as error:
        raise ValueError(f"{name} is damaged: {error}") from error
    return Layer(name.removeprefix("blobs/sha256/").removesuffix("/layer.tar"), entries)


def _entry(layer: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    kind = "file" if member.isfile() else "folder" if member.isdir() else "link" if member.issym() else "other"
    path = member.name.removeprefix("./").strip("/")
    secret = ""
    if kind == "file" and 0 < member.size <= LONGEST_SECRET_FILE and HOME_OF_SECRETS.match(path):
        content = layer.extractfile(member)
        found = SECRET_TEXT.search(content.read()) if content else None
        secret = found[0][:12].decode() + "…" if found else ""
    return Entry(path, kind, member.mode & 0o7777, member.uid, member.size, secret)


class Stream(io.RawIOBase):
    """Chunks, however they are cut, read as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size >= 0
        parts: list[memoryview] = []
        while size > 0:
            if not self._left:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._left = memoryview(chunk)
                continue
            parts.append(self._left[:size])
            self._left = self._left[size:]
            size -= len(parts[-1])
        return b"".join(parts)
