"""NVIDIA GPUs, seen from three sides: what NVML gives this process, what the kernel drives, what sits on the PCI bus.

/proc and /sys show the host's hardware inside a container too; a GPU seen there and not through NVML is one the
container was not given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from workstation.doctor.nvml import SONAME, Gpu, Nvml, NvmlError

_NVIDIA = "0x10de"
_DISPLAY_CONTROLLER = "0x03"  # PCI base class: VGA (0x0300xx) and 3D (0x0302xx) controllers


@dataclass(frozen=True)
class Graphics:
    """The three views. `nvml_error` says why `gpus` is empty, or lacks one that does not answer."""

    gpus: tuple[Gpu, ...]
    driver: str | None  # version of the library this process talks to
    nvml_error: NvmlError | None
    kernel_driver: str | None  # version of the loaded kernel module, the host's
    on_host: tuple[str, ...]  # PCI addresses

    @property
    def host_has_gpu(self) -> bool:
        return bool(self.on_host) or self.kernel_driver is not None


def graphics(root: Path, library: str = SONAME) -> Graphics:
    """Look from all three sides; a missing driver is an answer, not an error."""
    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    failure: NvmlError | None = None
    try:
        with Nvml(library) as nvml:
            driver = nvml.driver_version()
            gpus, failure = nvml.gpus()
    except NvmlError as error:
        failure = error
    return Graphics(gpus, driver, failure, kernel_driver(root), pci_gpus(root))


def kernel_driver(root: Path) -> str | None:
    """Version of the NVIDIA kernel module, as in "580.95.05"; None where it is not loaded."""
    try:
        text = (root / "proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    found = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", text)
    return found.group(1) if found else None


def pci_gpus(root: Path) -> tuple[str, ...]:
    """PCI addresses of NVIDIA's display controllers, driver or no driver."""
    devices = sorted((root / "sys/bus/pci/devices").glob("*"))
    return tuple(device.name for device in devices if _is_gpu(device))


def _is_gpu(device: Path) -> bool:
    try:
        vendor = (device / "vendor").read_text().strip()
        kind = (device / "class").read_text().strip()
    except OSError:
        return False
    return vendor == _NVIDIA and kind.startswith(_DISPLAY_CONTROLLER)
