"""What torch says of itself and of this machine. Run as a script it imports torch and prints the facts as JSON."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Companion:
    """torchvision or torchaudio beside this torch. `error` says why it does not import."""

    version: str | None = None
    cuda: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Device:
    """A GPU as torch sees it. `fault` is what it answered to a small product and a convolution; None when both ran."""

    name: str
    compute_capability: tuple[int, int]
    fault: str | None


@dataclass(frozen=True)
class TorchFacts:
    version: str
    cuda: str | None  # None: a CPU build
    cudnn: str | None
    cudnn_error: str | None
    nccl: str | None
    architectures: tuple[str, ...]  # "sm_90", "compute_120"
    threads: int
    torchvision: Companion
    torchaudio: Companion
    cuda_error: str | None  # why CUDA cannot be used; None where it can
    devices: tuple[Device, ...]
    mapped: tuple[str, ...]  # every shared object in the process, once all of the above were loaded

    @classmethod
    def from_json(cls, answer: dict[str, Any]) -> TorchFacts:
        nested = {
            "architectures": tuple(answer["architectures"]),
            "torchvision": Companion(**answer["torchvision"]),
            "torchaudio": Companion(**answer["torchaudio"]),
            "devices": tuple(
                Device(**{**device, "compute_capability": tuple(device["compute_capability"])})
                for device in answer["devices"]
            ),
            "mapped": tuple(answer["mapped"]),
        }
        return cls(**{**answer, **nested})


def gather() -> TorchFacts:
    """Import the trio and ask. Raises whatever `import torch` raises."""
    import torch

    cuda_error = _cuda_error(torch)  # first: it initialises CUDA; until then torch counts NVML's GPUs, lost ones too
    cudnn, cudnn_error = _cudnn(torch)
    count = 0 if cuda_error else torch.cuda.device_count()
    return TorchFacts(
        version=str(torch.__version__),
        cuda=torch.version.cuda,
        cudnn=cudnn,
        cudnn_error=cudnn_error,
        nccl=_nccl(torch),
        architectures=_architectures(torch),
        threads=torch.get_num_threads(),
        torchvision=_companion(torch, "torchvision"),
        torchaudio=_companion(torch, "torchaudio"),
        cuda_error=cuda_error,
        devices=tuple(
            Device(
                torch.cuda.get_device_name(index),
                torch.cuda.get_device_capability(index),
                fault(torch, f"cuda:{index}"),
            )
            for index in range(count)
        ),
        mapped=mapped_libraries(),
    )


def mapped_libraries() -> tuple[str, ...]:
    """The files of the shared objects in this process."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    files = {words[5] for words in (line.split(maxsplit=5) for line in lines) if len(words) == 6}
    return tuple(sorted(file for file in files if ".so" in file))


def fault(torch: Any, device: str) -> str | None:
    """Run a product (cuBLAS on a GPU) and a convolution (cuDNN): the error, or None when both are right."""
    try:
        ones = torch.ones(8, 8, device=device)
        product = (ones @ ones).sum().item()  # 8 · 8 · 8
        image = torch.ones(1, 1, 8, 8, device=device)
        convolved = torch.nn.functional.conv2d(image, torch.ones(1, 1, 3, 3, device=device)).sum().item()  # 6 · 6 · 9
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None if (product, convolved) == (512.0, 324.0) else f"wrong results: {product}, {convolved}"


def _cudnn(torch: Any) -> tuple[str | None, str | None]:
    if torch.version.cuda is None:
        return None, None
    try:
        number = torch.backends.cudnn.version()
    except Exception as error:  # an incompatible cuDNN was found first; asking the GPUs may raise anything
        return None, str(error).splitlines()[0]
    if number is None:  # built without it
        return None, None
    # CUDNN_VERSION since 9.0: major · 10000 + minor · 100 + patch
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}", None


def _nccl(torch: Any) -> str | None:
    if torch.version.cuda is None or not torch.distributed.is_nccl_available():
        return None
    return ".".join(str(part) for part in torch.cuda.nccl.version())


def _architectures(torch: Any) -> tuple[str, ...]:
    # not torch.cuda.get_arch_list(): that one is empty where there is no GPU
    return () if torch.version.cuda is None else tuple((torch._C._cuda_getArchFlags() or "").split())


def _cuda_error(torch: Any) -> str | None:
    if torch.version.cuda is None:
        return "this torch is a CPU build"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.cuda.init()
    except Exception as error:  # AssertionError, RuntimeError, and torch's own that is neither
        return str(error).splitlines()[0]
    return None


def _companion(torch: Any, name: str) -> Companion:
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            return Companion()
        return Companion(error=str(error))
    except Exception as error:  # torchaudio raises RuntimeError for a torch of another CUDA, others what they like
        return Companion(error=str(error).splitlines()[0])
    return Companion(version=str(module.__version__), cuda=_built_for(torch, name))


def _built_for(torch: Any, name: str) -> str | None:
    """What its extension was compiled with; the package's own name need not say."""
    operators = {"torchvision": ("torchvision", "_cuda_version"), "torchaudio": ("_torchaudio", "cuda_version")}
    namespace, operator = operators[name]
    try:
        number = getattr(getattr(torch.ops, namespace), operator)()
    except AttributeError:  # it has no compiled part
        return None
    # CUDA_VERSION: major · 1000 + minor · 10; torchvision says -1 for a CPU build, torchaudio None
    return None if number is None or number < 0 else f"{number // 1000}.{number % 1000 // 10}"


if __name__ == "__main__":
    print(json.dumps(asdict(gather())))
