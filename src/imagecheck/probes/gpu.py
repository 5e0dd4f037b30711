"""The GPUs torch sees, the driver beneath it, and what this build holds kernels for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch


def driver() -> str | None:
    """The kernel module's version, from /proc: the same in every container of the host."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    found = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\d+\.\d+(?:\.\d+)?)", text)
    return found[1] if found else None


def card(index: int) -> dict[str, object]:
    """A GPU that fell off the bus is still counted; only work on it shows that it is lost."""
    document: dict[str, object] = {"name": f"GPU {index}"}
    try:
        properties = torch.cuda.get_device_properties(index)
        document.update(name=properties.name, capability=[properties.major, properties.minor])
        free, total = torch.cuda.mem_get_info(index)
        document.update(free=free, total=total)
        document["answer"] = (torch.ones(64, 64, device=index) @ torch.ones(64, 64, device=index)).sum().item()
    except Exception as error:  # AssertionError where NVML counts more than CUDA; a plain one from CUDA's start
        document["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return document


def main() -> None:
    document = {
        "driver": driver(),
        "devices": sorted(path.name for path in Path("/dev").iterdir() if re.fullmatch(r"nvidia\d+", path.name)),
        "cuda": torch.version.cuda,
        "driver_cuda": torch._C._cuda_getDriverVersion() if torch.version.cuda else 0,
        "arch_list": torch.cuda.get_arch_list() if torch.version.cuda else [],
        "cards": [card(index) for index in range(torch.cuda.device_count())],
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
