"""A layer as the engine's store keeps it: as it is (overlay2), or packed as it was pulled or built (containerd)."""

from __future__ import annotations

import gzip
import zlib
from io import BufferedReader
from typing import IO, cast

import zstandard

TAR_BLOCK = 512
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)  # what reading it can end in


def is_layer(file: BufferedReader) -> bool:
    """Whether a file of `docker save` is a layer, of which an empty one has 32 bytes when it is packed.

    The others are JSON documents, and the classic format's VERSION of three bytes.
    """
    start = file.peek(TAR_BLOCK)
    if start.startswith((GZIP, ZSTD)) or start[257:262] == b"ustar":
        return True
    return len(start) >= TAR_BLOCK and start[:1] not in (b"{", b"[")


def unpacked(file: BufferedReader) -> IO[bytes]:
    """The tar of a layer. It may be packed in several pieces (eStargz, zstd:chunked): tarfile reads the first alone."""
    start = file.peek(len(ZSTD))
    if start.startswith(ZSTD):
        return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if start.startswith(GZIP) else file
