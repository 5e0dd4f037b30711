"""Which engine runs this container: it decides the command that hands over a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path


class Engine(Enum):
    DOCKER = "docker"
    PODMAN = "podman"
    KUBERNETES = "kubernetes"
    APPTAINER = "apptainer"


def engine(root: Path, environ: Mapping[str, str]) -> Engine | None:
    """The engine, by the mark it leaves; None outside a container."""
    if "KUBERNETES_SERVICE_HOST" in environ:
        return Engine.KUBERNETES
    if "APPTAINER_CONTAINER" in environ or "SINGULARITY_CONTAINER" in environ:
        return Engine.APPTAINER
    if (root / "run/.containerenv").exists():
        return Engine.PODMAN
    if (root / ".dockerenv").exists():
        return Engine.DOCKER
    return None
