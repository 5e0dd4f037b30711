"""What this machine has, and what scripts/configure chose for it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from docker.types import DeviceRequest

from imagecheck.engine.gpus import WSL2_DRIVER

ROOT = Path(__file__).resolve().parents[2]
DRIVER = WSL2_DRIVER if WSL2_DRIVER.exists() else Path("/proc/driver/nvidia/version")
ALL_GPUS = [DeviceRequest(count=-1, capabilities=[["gpu"]])]


def gpus(driver: Path = DRIVER) -> list[DeviceRequest]:
    """All, where there is a driver: a container sees it even without a GPU, and the doctor then has one to ask for."""
    return ALL_GPUS if driver.exists() else []


def setting(name: str, file: Path = ROOT / ".env") -> str:
    """As Compose reads it: the shell's, else that of .env; empty where neither says."""
    lines = file.read_text().splitlines() if file.exists() else []
    of_file = {key.strip(): value.strip().strip("'\"") for key, _, value in (s.partition("=") for s in lines)}
    return os.environ.get(name) or of_file.get(name, "")


def base_image(file: Path = ROOT / ".env") -> str:
    """What the image is built from: NVIDIA's, as the Dockerfile says, where nothing else was chosen."""
    default = re.search(r"^ARG BASE_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert default is not None
    return setting("BASE_IMAGE", file) or default[1]
