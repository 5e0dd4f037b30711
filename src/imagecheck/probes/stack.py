"""Which torch is here, whether its family imports beside it, and whether what it pins is what is installed."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

FAMILY = ("torch", "torchvision", "torchaudio")
EXACT_PIN = re.compile(r"^(?P<name>nvidia-[a-z0-9-]+)==(?P<version>[0-9.]+)")


def family_member(name: str) -> dict[str, Any]:
    """How `import name` went. Whatever it raises is the finding, so everything is caught."""
    if importlib.util.find_spec(name) is None:
        return {"present": False, "imported": False}
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        return {"present": True, "imported": False, "error": f"{type(error).__name__}: {error}"}
    return {
        "present": True,
        "imported": True,
        "version": str(module.__version__),
        "path": str(Path(module.__file__ or "").parent),
        "cuda": built_for(name, module),
    }


def built_for(name: str, module: Any) -> str | None:
    """The CUDA release (`13.0`) a package was built for; None for a CPU build."""
    if name == "torchaudio":  # its extension says it as an integer, 13000; without one it has no kernels of its own
        import torch

        try:
            number = torch.ops._torchaudio.cuda_version()
        except (AttributeError, RuntimeError):
            local = str(module.__version__).partition("+cu")[2]
            return f"{local[:-1]}.{local[-1]}" if local.isdigit() else None
        return f"{number // 1000}.{number % 1000 // 10}" if number else None
    cuda = getattr(getattr(module, "version", None), "cuda", None)
    return f"{cuda // 1000}.{cuda % 1000 // 10}" if isinstance(cuda, int) else cuda  # torchvision says 13000


def installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def pins() -> dict[str, dict[str, str | None]]:
    """The NVIDIA wheels that torch's own metadata pins to one version, and the versions installed."""
    try:
        requirements = importlib.metadata.requires("torch") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    matches = [match for match in map(EXACT_PIN.match, requirements) if match]
    return {m["name"]: {"pinned": m["version"], "installed": installed(m["name"])} for m in matches}


def pip_check() -> dict[str, list[str] | None]:
    """What `pip check` says; `problems` is None where there is no pip."""
    command = [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if "No module named pip" in ended.stderr:
        return {"problems": None}
    return {"problems": [] if ended.returncode == 0 else (ended.stdout or ended.stderr).strip().splitlines()}


def signs_of_cuda() -> list[str]:
    """What in the image says that it is meant for GPUs."""
    variables = [
        name for name in ("CUDA_VERSION", "NVIDIA_REQUIRE_CUDA", "NV_CUDA_LIB_VERSION") if os.environ.get(name)
    ]
    folders = [path for path in ("/usr/local/cuda/lib64", "/usr/local/cuda/bin/nvcc") if Path(path).exists()]
    return variables + folders


def nccl_version() -> list[int] | None:
    """The version of the NCCL that torch's calls reach; torch.cuda.nccl.version() says what it was *built* against.

    The lookup is the dynamic linker's: what is global (LD_PRELOAD) first, then libtorch_cuda's own dependencies.
    """
    import torch

    library = Path(torch.__file__).parent / "lib" / "libtorch_cuda.so"
    if not library.exists():
        return None
    for place in (None, str(library)):
        get_version = getattr(ctypes.CDLL(place), "ncclGetVersion", None)
        if get_version is not None:
            code = ctypes.c_int()
            get_version(ctypes.byref(code))
            return [code.value // 10000, code.value % 10000 // 100, code.value % 100]
    return None


def torch_facts() -> dict[str, object]:
    import torch

    return {
        "cuda_available": torch.cuda.is_available(),
        "cuda_runtime": torch.version.cuda,
        "rocm": getattr(torch.version, "hip", None),
        "nccl": nccl_version(),
        "arch_list": torch.cuda.get_arch_list() if torch.version.cuda else [],
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    document: dict[str, Any] = {
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "signs_of_cuda": signs_of_cuda(),
    }
    document.update({name: family_member(name) for name in FAMILY})
    document["pins"] = pins()
    document["pip_check"] = pip_check()
    document["facts"] = torch_facts() if document["torch"]["imported"] else {}
    print(json.dumps(document))


if __name__ == "__main__":
    main()
