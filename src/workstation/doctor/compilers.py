"""Do the compilers that torch.compile calls really compile? Their presence alone proves little: headers go missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 60

# Triton builds its launcher as an extension module of Python.
_C_SOURCE = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "trial", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_trial(void) { return PyModule_Create(&module); }
"""
# Inductor's CPU kernels use the standard library and OpenMP.
_CXX_SOURCE = """
#include <omp.h>
#include <vector>
extern "C" int trial() { return static_cast<int>(std::vector<int>(omp_get_max_threads()).size()); }
"""


@dataclass(frozen=True)
class Compiler:
    """A compiler and its trial: `error` is its first complaint, None when it built a shared library."""

    command: str
    path: str | None
    error: str | None


def c_compiler(environ: Mapping[str, str] = os.environ) -> Compiler:
    """The one Triton takes: $CC, else gcc."""
    include = sysconfig.get_path("include")  # in a virtual environment too, the base interpreter's
    return _try(environ.get("CC") or "gcc", _C_SOURCE, "trial.c", [f"-I{include}"], environ)


def cxx_compiler(environ: Mapping[str, str] = os.environ) -> Compiler:
    """The one Inductor takes: $CXX, else g++."""
    return _try(environ.get("CXX") or "g++", _CXX_SOURCE, "trial.cpp", ["-fopenmp"], environ)


def _try(command: str, source: str, name: str, flags: list[str], environ: Mapping[str, str]) -> Compiler:
    path = shutil.which(command, path=environ.get("PATH"))
    if path is None:
        return Compiler(command, None, "not found")
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name).write_text(source)
            done = subprocess.run(
                [path, "-shared", "-fPIC", *flags, name, "-o", "trial.so"],
                check=False,
                cwd=folder,
                env=dict(environ),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Compiler(command, path, str(error))
    return Compiler(command, path, None if done.returncode == 0 else _complaint(done.stderr))


def _complaint(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if "error" in line] or stderr.splitlines()
    return lines[0] if lines else "failed without a word"
