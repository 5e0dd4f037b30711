"""Which versions are installed, read from the files they left: no import, no metadata scan, a few milliseconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Installed:
    """Versions on disk; None where a package is not there. `cuda` is the one torch was built for."""

    torch: str | None = None
    torchvision: str | None = None
    torchaudio: str | None = None
    cuda: str | None = None
    cudnn: str | None = None
    nccl: str | None = None
    triton: str | None = None


def installed() -> Installed:
    """What this interpreter would import."""
    torch = package("torch")
    wheels = {} if torch is None else _wheels(torch.parent)
    return Installed(
        torch=_assigned(torch, "__version__"),
        torchvision=_assigned(package("torchvision"), "__version__"),
        torchaudio=_assigned(package("torchaudio"), "__version__"),
        cuda=_assigned(torch, "cuda"),
        cudnn=wheels.get("nvidia_cudnn"),
        nccl=wheels.get("nvidia_nccl"),
        triton=wheels.get("triton"),
    )


def package(name: str) -> Path | None:
    """The folder of a top-level package, found without importing it."""
    spec = find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _assigned(folder: Path | None, name: str) -> str | None:
    """The string that `version.py` gives to `name`."""
    if folder is None:
        return None
    try:
        text = (folder / "version.py").read_text()
    except OSError:
        return None
    found = re.search(rf"""^{name}\b[^=\n]*=\s*["']([^"']+)["']""", text, re.MULTILINE)
    return found.group(1) if found else None


def _wheels(site: Path) -> dict[str, str]:
    """Distribution -> version from the names of the *.dist-info folders; "nvidia_cudnn_cu13" is "nvidia_cudnn"."""
    names = (folder.name.removesuffix(".dist-info").partition("-") for folder in site.glob("*.dist-info"))
    return {re.sub(r"_cu\d+$", "", name): version for name, _, version in names}
