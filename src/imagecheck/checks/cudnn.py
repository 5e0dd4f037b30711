"""cuDNN: the one torch was pinned to, whole, and once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagecheck.bench import Bench, Blocked
from imagecheck.outcome import Finding, failed, passed, skipped
from imagecheck.registry import promise


def document(bench: Bench) -> Mapping[str, Any]:
    """Raises Blocked where torch was built without cuDNN, for then nothing here applies."""
    found = bench.torch_probe("cudnn")
    if not found["built"]:
        raise Blocked("this torch was built without CUDA")
    if not found["version"]:
        raise Blocked("this torch was built without cuDNN")
    return found


def spelled(version: int) -> str:
    """92400 -> 9.24.0; before cuDNN 9 it was 8905 -> 8.9.5."""
    thousand = 10000 if version >= 90000 else 1000
    return f"{version // thousand}.{version % thousand // 100}.{version % 100}"


@promise("cudnn.pinned", "the cuDNN that is loaded is the one torch pins")
def pinned(bench: Bench) -> Finding:
    cudnn = document(bench)
    loaded = spelled(cudnn["version"])
    pins = bench.torch_probe("stack")["pins"]
    pin = next((pin for name, pin in pins.items() if name.startswith("nvidia-cudnn")), None)
    if pin is None and "incompatib" not in cudnn["refusal"]:  # what torch refuses for the GPU's sake is no wrong cuDNN
        return passed(f"cuDNN {loaded}; torch's metadata pins none", loaded=loaded, files=cudnn["files"])
    if pin is None or not f"{pin['pinned']}.".startswith(f"{loaded}."):
        return failed(
            f"cuDNN {loaded} is loaded, torch pins {pin['pinned'] if pin else 'none, and refuses it'}",
            remedy="drop the base image's libcudnn, and LD_LIBRARY_PATH or LD_PRELOAD that puts it first",
            loaded=loaded,
            files=cudnn["files"],
            refusal=cudnn["refusal"],
        )
    return passed(f"cuDNN {loaded}, as pinned", loaded=loaded, files=cudnn["files"])


@promise("cudnn.whole", "every part of cuDNN loads from one folder and fits the others")
def whole(bench: Bench) -> Finding:
    cudnn = document(bench)
    if len(cudnn["files"]) > 1:
        raise Blocked("cuDNN is loaded from several files: see cudnn.one-copy")
    if not cudnn["parts"]:
        return skipped(f"cuDNN {spelled(cudnn['version'])} is linked into torch or has no separate parts")
    missing = {name: part["error"] for name, part in cudnn["parts"].items() if "error" in part}
    unfit = {name: part["status"] for name, part in cudnn["parts"].items() if part.get("status")}
    if missing:
        return failed(
            f"libcudnn_{next(iter(missing))} does not load: {next(iter(missing.values()))}",
            remedy="reinstall the cuDNN wheel whole; do not delete its libraries to save space",
            missing=missing,
        )
    if unfit:
        return failed(
            f"libcudnn_{next(iter(unfit))} is of another version (CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH)",
            remedy="keep one cuDNN: the base's or the wheel's, not files of both",
            unfit=unfit,
        )
    return passed(f"{len(cudnn['parts'])} parts load and fit", parts=sorted(cudnn["parts"]))


@promise("cudnn.one-copy", "every CUDA library in use comes from exactly one file")
def one_copy(bench: Bench) -> Finding:
    mapped = document(bench)["mapped"]
    twice = {soname: files for soname, files in mapped.items() if len(files) > 1}
    if twice:
        soname, files = next(iter(twice.items()))
        return failed(
            f"{soname} is loaded from {' and '.join(files)}",
            remedy="keep one: the base's or the wheels', not both",
            twice=twice,
        )
    return passed(f"{len(mapped)} CUDA libraries, one file each", mapped=mapped)


@promise("cudnn.convolution", "a cuDNN convolution, forward and backward, agrees with float64 on the CPU")
def convolution(bench: Bench) -> Finding:
    document(bench)
    if not bench.torch_probe("stack")["facts"]["cuda_available"]:
        return skipped("no GPU is visible to torch")
    line = bench.torch_probe("numerics", "cuda")["convolution"]
    told = f"error {line['error']:.1e}, allowed {line['bound']:.0e}"
    if not line["holds"]:
        return failed(told, remedy="driver, cuDNN and GPU do not fit: see cudnn.whole and gpu.driver", **line)
    return passed(told, **line)
