"""Bytes as people read them."""

from __future__ import annotations

MIB = 1024**2
GIB = 1024**3


def size(count: int) -> str:
    """As in "64 MiB" or "79.6 GiB"."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count // MIB} MiB"
