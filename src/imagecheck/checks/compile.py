"""torch.compile compiles, and does not merely fall back to eager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagecheck.bench import Bench
from imagecheck.engine.boots import LOCKED, PLAIN
from imagecheck.outcome import Finding, failed, passed, skipped
from imagecheck.registry import promise

TOLERANCE = 1e-4  # float32, sums of 64 x 16 terms of order 1: rounding alone stays below 1e-5


def judge_compilation(document: Mapping[str, Any]) -> Finding:
    if "error" in document:
        return failed(
            document["error"].splitlines()[0],
            remedy=compile_remedy(document["error"]),
            log=document["error"],
            uid=document["uid"],
            folder=document["folder"],
        )
    facts = {name: document[name] for name in ("graphs", "kernels", "graph_breaks", "seconds")}
    if document["graphs"] < 1 or document["kernels"] < 1 or document["graph_breaks"]:
        return failed(
            f"nothing was compiled: {document['graphs']} graphs, {document['kernels']} kernels,"
            f" {document['graph_breaks']} graph breaks",
            remedy="unset TORCHDYNAMO_DISABLE and TORCH_COMPILE_DISABLE in the image, and suppress_errors in its code",
            **facts,
        )
    if max(document["loss_error"], document["gradient_error"]) > TOLERANCE:
        return failed(
            f"compiled code differs from eager: gradient by {document['gradient_error']:.1e}, allowed {TOLERANCE:.0e}",
            remedy="use the compiler and torch of one release; drop -ffast-math from CXXFLAGS",
            **facts,
        )
    return passed(
        f"{document['graphs']} graph, {document['kernels']} kernels as UID {document['uid']}",
        **facts,
    )


def compile_remedy(error: str) -> str:
    """What to do about a failed compilation, as far as its text says."""
    if "Failed to find C compiler" in error or "C++ compiler" in error or "InvalidCxxCompiler" in error:
        return "install gcc and g++: Inductor and Triton call them when a model is first run"
    if "Python.h" in error:
        return "install the headers of the image's Python (python3-dev)"
    if "Fail to create path" in error:
        return "let every user enter the working directory (chmod o+x, or group 0 with g+rx)"
    if "Permission denied" in error or "Read-only file system" in error or "failed to map segment" in error:
        return (
            "point TORCHINDUCTOR_CACHE_DIR and TRITON_CACHE_DIR to a place any user may write and execute in (/tmp/…)"
        )
    return "run the log's command in the image to see what it needs"


@promise("compile.cpu", "torch.compile compiles for the CPU, as an unmapped user, on a read-only root, offline")
def cpu(bench: Bench) -> Finding:
    return judge_compilation(bench.torch_probe("compile", "cpu", boot=LOCKED))


@promise("compile.gpu", "torch.compile compiles for the GPU through Triton")
def gpu(bench: Bench) -> Finding:
    if not bench.torch_probe("stack")["facts"]["cuda_available"]:
        return skipped("no GPU is visible to torch")
    return judge_compilation(bench.torch_probe("compile", "cuda", boot=PLAIN))
