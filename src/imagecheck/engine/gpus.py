"""How many GPUs the host has, without nvidia-smi in the image or on the host."""

from __future__ import annotations

from pathlib import Path

import docker

from imagecheck.engine.connection import is_local

DRIVER_GPUS = Path("/proc/driver/nvidia/gpus")  # one folder a GPU, made by the kernel module


def count(client: docker.DockerClient) -> int:
    """The GPUs the engine's host has: exact where it is this machine; at a remote engine, 1 where it has an NVIDIA
    runtime or CDI devices and 0 otherwise, for its /proc cannot be read from here."""
    if is_local(client):
        return len(list(DRIVER_GPUS.iterdir())) if DRIVER_GPUS.is_dir() else 0
    info = client.info()
    return int(
        "nvidia" in (info.get("Runtimes") or {}) or bool(info.get("CDISpecDirs") and info.get("DiscoveredDevices"))
    )
