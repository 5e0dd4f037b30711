"""torch and its family: one set of packages that were made for each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagecheck.bench import Bench, Blocked
from imagecheck.engine.container import ProbeError
from imagecheck.outcome import Finding, failed, passed, skipped
from imagecheck.registry import promise

FAMILY = ("torch", "torchvision", "torchaudio")
MISSING = "cannot open shared object file"


def present(stack: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: stack[name] for name in FAMILY if stack[name]["present"]}


@promise("stack.imports", "torch, torchvision and torchaudio, as many as there are, import together")
def imports(bench: Bench) -> Finding:
    if bench.python is None:
        return failed(
            "no Python in the image finds torch",
            remedy="install torch, and put its Python on the image's PATH (ENV PATH=…)",
        )
    try:
        stack = bench.probe("stack")
    except ProbeError as error:
        return failed(
            f"importing torch ends the interpreter: {error.what}",
            remedy="see the log: most often a library of another version is loaded first",
            log=error.log,
        )
    family = present(stack)
    broken = {name: package["error"] for name, package in family.items() if not package["imported"]}
    if broken:
        name, reason = next(iter(broken.items()))
        return failed(f"import {name}: {reason}", remedy=import_remedy(reason), python=bench.python, errors=broken)
    return passed(", ".join(f"{name} {package['version']}" for name, package in family.items()), python=bench.python)


def import_remedy(error: str) -> str:
    """What to do about an import error, as far as its text says."""
    if MISSING in error:
        library = error.partition(": ")[2].partition(":")[0]
        owner = "nvidia-cudnn" if "cudnn" in library else "the NVIDIA wheel that torch pins"
        return f"{library} is not in the image: reinstall {owner} at torch's pin, and do not delete wheels' files"
    if "CUDA version" in error or "CUDA versions" in error:
        return "install torch, torchvision and torchaudio of one release, from one index, pinned together"
    return "reinstall the family at versions of one release, pinned together"


@promise("stack.same-cuda", "torch, torchvision and torchaudio were built for the same CUDA")
def same_cuda(bench: Bench) -> Finding:
    family = present(bench.probe("stack"))
    broken = [name for name, package in family.items() if not package["imported"]]
    if broken or not family:
        raise Blocked(f"{', '.join(broken) or 'torch'} does not import: see stack.imports")
    if len(family) == 1:
        return skipped("torch is alone: there is no torchvision or torchaudio beside it")
    builds = {name: package["cuda"] for name, package in family.items()}
    if len(set(builds.values())) > 1:
        told = ", ".join(f"{name} for {cuda or 'CPU'}" for name, cuda in builds.items())
        return failed(
            f"built for different CUDA releases: {told}",
            remedy="pin the family to one release and one index (…/whl/cu130), never unpinned",
            builds=builds,
        )
    return passed(f"all for CUDA {builds['torch']}" if builds["torch"] else "all CPU builds", builds=builds)


@promise("stack.cuda-build", "an image that says CUDA does not hold a CPU build of torch")
def cuda_build(bench: Bench) -> Finding:
    stack = torch_stack(bench)
    facts, signs = stack["facts"], stack["signs_of_cuda"]
    if facts["cuda_runtime"] or facts["rocm"]:
        return passed(f"built for {'CUDA ' + facts['cuda_runtime'] if facts['cuda_runtime'] else 'ROCm'}", signs=signs)
    if signs:
        return failed(
            f"torch {stack['torch']['version']} is a CPU build, yet the image has {', '.join(signs)}",
            remedy="install from the CUDA index and assert torch.version.cuda in the build; look for find-links or an"
            " extra index that offers +cpu wheels",
            signs=signs,
        )
    return passed("a CPU build, and nothing in the image says CUDA")


@promise("stack.nccl", "the NCCL that is loaded is the one torch pins")
def nccl(bench: Bench) -> Finding:
    stack = torch_stack(bench)
    if not stack["facts"]["nccl"]:
        return skipped("this torch was built without NCCL")
    loaded = ".".join(map(str, stack["facts"]["nccl"]))
    pin = next((pin for name, pin in stack["pins"].items() if name.startswith("nvidia-nccl")), None)
    if pin is None:
        return passed(f"NCCL {loaded}; torch's metadata pins none", loaded=loaded)
    if pin["pinned"] != loaded:
        return failed(
            f"NCCL {loaded} is loaded, torch pins {pin['pinned']}",
            remedy="drop the base image's libnccl2 or LD_LIBRARY_PATH/LD_PRELOAD that puts it first",
            loaded=loaded,
            **pin,
        )
    return passed(f"NCCL {loaded}, as pinned", loaded=loaded)


@promise("stack.pip-check", "every installed package has the dependencies it asks for")
def pip_check(bench: Bench) -> Finding:
    problems = bench.probe("stack")["pip_check"]["problems"]
    if problems is None:
        return skipped("the interpreter that has torch has no pip")
    if problems:
        return failed(
            f"pip check: {problems[0]}" + (f" (and {len(problems) - 1} more)" if problems[1:] else ""),
            remedy="install from one lock file in one resolution, not package by package",
            problems=problems,
        )
    return passed("no broken requirements")


@promise("stack.fresh-bytecode", "no .pyc beside torch is stale: nothing is recompiled at every import")
def fresh_bytecode(bench: Bench) -> Finding:
    document = bench.probe("bytecode")
    if document["stale"]:
        return failed(
            f"{document['stale_count']} of {document['seen']} .pyc files do not match their source,"
            f" e.g. {document['stale'][0]}",
            remedy="compile after the last change of mtime: python -m compileall --invalidation-mode unchecked-hash",
            stale=document["stale"],
        )
    return passed(f"{document['seen']} .pyc files match their sources, {document['without']} sources have none")


def torch_stack(bench: Bench) -> Mapping[str, Any]:
    """The stack probe's document, of a torch that imports."""
    return bench.torch_probe("stack")
