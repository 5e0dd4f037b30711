"""Which cuDNN torch loads, whether it is whole, and how many files each CUDA library is mapped from."""

from __future__ import annotations

import ctypes
import json
import re
from pathlib import Path

import torch

MAJOR = 9  # the release since which cuDNN has the parts below
# What libcudnn.so.9 loads only when a convolution first needs it: a missing one is found out late.
PARTS = ("graph", "ops", "cnn", "adv", "engines_precompiled", "engines_runtime_compiled", "heuristic")
CUDA_LIBRARY = re.compile(r"lib(cudnn|cublas|cublasLt|cudart|cufft|curand|cusolver|cusparse|nccl|nvrtc|nvJitLink)\b")


def mapped() -> dict[str, list[str]]:
    """CUDA libraries in this process: soname -> files, each file once, links resolved."""
    found: dict[str, set[str]] = {}
    with Path("/proc/self/maps").open() as maps:
        for line in maps:
            path = Path("/", line.rstrip("\n").partition("/")[2])
            name = path.name
            if CUDA_LIBRARY.match(name) and ".so" in name:
                stem, _, version = name.partition(".so")
                soname = "{}.so.{}".format(stem, version.lstrip(".").split(".")[0])
                found.setdefault(soname, set()).add(str(path.resolve()))
    return {soname: sorted(files) for soname, files in sorted(found.items())}


def part(folder: Path, name: str) -> dict[str, object]:
    """How loading one of cuDNN's parts went, and what its own version check says (0: it fits the others)."""
    path = str(folder / f"libcudnn_{name}.so.{MAJOR}")
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        return {"path": path, "error": str(error)}
    check = getattr(library, f"cudnn{name.capitalize()}VersionCheck", None)
    return {"path": path, "status": check() if check else None}


def runtime_version() -> tuple[int | None, str]:
    """The version torch meets at run time, and what torch said where it refuses it."""
    try:
        return torch.backends.cudnn.version(), ""
    except Exception as error:  # of the version, or of a GPU: one that is too old for it, or lost
        return torch._C._cudnn.getVersionInt(), str(error)


def main() -> None:
    version, refusal = runtime_version()
    document: dict[str, object] = {"built": bool(torch.version.cuda), "version": version, "refusal": refusal}
    parts: dict[str, object] = {}
    files = mapped().get(f"libcudnn.so.{MAJOR}", [])
    if document["built"] and files:
        parts = {name: part(Path(files[0]).parent, name) for name in PARTS}
    document.update(files=files, parts=parts, mapped=mapped())
    print(json.dumps(document))


if __name__ == "__main__":
    main()
