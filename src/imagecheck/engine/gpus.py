"""How many GPUs the host has, without nvidia-smi in the image or on the host."""

from __future__ import annotations

from pathlib import Path

import docker

from imagecheck.engine.connection import is_local

DRIVER_GPUS = Path("/proc/driver/nvidia/gpus")  # one folder a GPU, made by the kernel module
WSL2_DRIVER = Path("/usr/lib/wsl/lib/libcuda.so.1")  # WSL2's kernel has nothing of NVIDIA's in /proc


def count(client: docker.DockerClient) -> int:
    """The GPUs the engine's host can hand over: exact where it is this machine. 1 where it has some and their number
    cannot be read: under WSL2, and at a remote engine with an NVIDIA runtime or CDI devices."""
    if is_podman(client):
        return 0  # Docker's way to ask for them is dropped without a word there: podman#22645
    if is_local(client):
        return len(list(DRIVER_GPUS.iterdir())) if DRIVER_GPUS.is_dir() else int(WSL2_DRIVER.exists())
    info = client.info()
    return int(
        "nvidia" in (info.get("Runtimes") or {}) or bool(info.get("CDISpecDirs") and info.get("DiscoveredDevices"))
    )


def is_podman(client: docker.DockerClient) -> bool:
    return any(part["Name"] == "Podman Engine" for part in client.version().get("Components") or ())
