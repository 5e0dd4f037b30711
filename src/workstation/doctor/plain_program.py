"""Which cuDNN and NCCL a program that is not torch gets from ld.so. Run as a script it loads them and says."""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Found:
    """A library as ld.so finds it."""

    file: str  # as /proc/self/maps shows it: symbolic links followed
    version: str


@dataclass(frozen=True)
class PlainProgram:
    """None where ld.so finds no such library."""

    cudnn: Found | None
    nccl: Found | None

    @classmethod
    def from_json(cls, answer: dict[str, Any]) -> PlainProgram:
        return cls(**{name: Found(**found) if found else None for name, found in answer.items()})


def main() -> None:
    print(json.dumps({"cudnn": _cudnn(), "nccl": _nccl()}))


def _cudnn() -> dict[str, str] | None:
    library = _load("libcudnn.so.9")
    if library is None:
        return None
    library.cudnnGetVersion.restype = ctypes.c_size_t
    return {"file": _file_of("libcudnn.so"), "version": _dotted(library.cudnnGetVersion())}


def _nccl() -> dict[str, str] | None:
    library = _load("libnccl.so.2")
    if library is None:
        return None
    number = ctypes.c_int()
    library.ncclGetVersion(ctypes.byref(number))
    return {"file": _file_of("libnccl.so"), "version": _dotted(number.value)}


def _load(soname: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(soname)
    except OSError:
        return None


def _file_of(name: str) -> str:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return next(line.split(maxsplit=5)[5] for line in lines if f"/{name}." in line)


def _dotted(number: int) -> str:
    """Both count major · 10000 + minor · 100 + patch (cuDNN since 9.0, NCCL since 2.9)."""
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


if __name__ == "__main__":
    main()
