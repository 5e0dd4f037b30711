"""The probes as a volume: a read-only root takes no copied files, and a remote engine no bind mount."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import docker
from docker.models.volumes import Volume

MOUNT = "/imagecheck"  # at the root: a folder that no image has
PROBES = Path(__file__).resolve().parent.parent / "probes"


def probe_archive() -> bytes:
    """A tar of src/imagecheck/probes that every user in the container can read."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(p for p in PROBES.iterdir() if p.is_file()):
            member = tarfile.TarInfo(path.name)
            member.size, member.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                archive.addfile(member, content)
    return buffer.getvalue()


def make_volume(client: docker.DockerClient, image: str, name: str, labels: dict[str, str]) -> Volume:
    """A volume that holds the probes. It is filled through a container of `image` that is never started."""
    volume = client.volumes.create(name, labels=labels)
    carrier = client.containers.create(
        image, command=["-"], labels=labels, volumes={name: {"bind": MOUNT, "mode": "rw"}}
    )
    try:
        carrier.put_archive(MOUNT, probe_archive())
    finally:
        carrier.remove(v=False)
    return volume
