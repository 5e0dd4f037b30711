"""CUDA's shared libraries: which files answer to one soname, on disk and in a process.

Two files for one soname are two states of one library in one process, or the wrong version for whoever comes second:
CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH is the usual end (pytorch#188892).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from workstation.doctor.installed import package

_CUDA = re.compile(
    r"(lib(?:cudart|cublas|cublasLt|cudnn\w*|cufft|cufile|cupti|curand|cusolver|cusparse|cusparseLt|nccl"
    r"|nvJitLink|nvrtc|nvshmem_host)\.so\.\d+)(?:\.\d+)*$"
)

Copies = Mapping[str, tuple[str, ...]]


def copies(files: Iterable[str]) -> Copies:
    """Soname -> the distinct files that carry it, CUDA's libraries alone."""
    found: dict[str, set[str]] = {}
    for file in files:
        match = _CUDA.match(Path(file).name)
        if match:
            found.setdefault(match.group(1), set()).add(file)
    return {soname: tuple(sorted(found[soname])) for soname in sorted(found)}


def on_disk(environ: Mapping[str, str]) -> Copies:
    """Those that a program can come across: ld.so's cache, LD_LIBRARY_PATH, torch and NVIDIA's wheels beside it."""
    files = (*_linker_cache(), *_listed(_folders(environ)))
    by_name = copies(files)
    return {soname: tuple(sorted({str(Path(file).resolve()) for file in by_name[soname]})) for soname in by_name}


def _linker_cache() -> Iterator[str]:
    program = shutil.which("ldconfig") or shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if program is None:
        return
    printed = subprocess.run([program, "-p"], capture_output=True, text=True, check=False).stdout
    for line in printed.splitlines():
        _, arrow, file = line.partition(" => ")
        if arrow:
            yield file


def _folders(environ: Mapping[str, str]) -> Iterator[Path]:
    yield from (Path(folder) for folder in environ.get("LD_LIBRARY_PATH", "").split(":") if folder)
    torch = package("torch")
    if torch is not None:
        yield torch / "lib"
        yield from (torch.parent / "nvidia").glob("*/lib")


def _listed(folders: Iterable[Path]) -> Iterator[str]:
    for folder in folders:
        yield from (str(file) for file in folder.glob("lib*.so.*"))
