"""A real registry on loopback, and images of a few kilobytes to put into it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from throwaway import debian_package

START_DEADLINE_S = 20
TOOLS = {"cosign": "cosign", "oras": "oras", "docker-registry": "docker-registry"}  # program -> Debian package
OCI = "application/vnd.oci.image"


def path_with_tools() -> str:
    """PATH on which each of TOOLS is found; what the machine lacks is unpacked from its package, not installed."""
    missing = [package for program, package in TOOLS.items() if shutil.which(program) is None]
    return os.pathsep.join([*(str(debian_package(package) / "usr" / "bin") for package in missing), os.environ["PATH"]])


@dataclass(frozen=True)
class Registry:
    address: str
    storage: Path

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/v2/", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def blob(self, digest: str) -> Path:
        """Where its bytes lie."""
        algorithm, _, value = digest.partition(":")
        return self.storage / "docker/registry/v2/blobs" / algorithm / value[:2] / value / "data"


@contextmanager
def running_registry(folder: Path, path: str) -> Iterator[Registry]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    registry = Registry(f"localhost:{port}", folder / "storage")
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(registry.storage)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "log": {"level": "error", "accesslog": {"disabled": True}},
    }
    (folder / "registry.yml").write_text(json.dumps(settings))
    program = shutil.which("docker-registry", path=path)
    assert program is not None
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", folder / "registry.yml"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not registry.answers():
            assert process.poll() is None, (folder / "registry.log").read_text()
            assert time.monotonic() < deadline, f"the registry did not answer within {START_DEADLINE_S} s"
            time.sleep(0.05)
        yield registry
    finally:
        process.terminate()
        process.wait(timeout=START_DEADLINE_S)


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def layer(**files: bytes) -> bytes:
    """A layer as a tar; `a__b=…` is the file a/b."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            add(archive, name.replace("__", "/"), content)
    return packed.getvalue()


def oci_image(
    path: Path, *layers: bytes, labels: Mapping[str, str] | None = None, architecture: str = "amd64"
) -> dict[str, str]:
    """An OCI layout at `path`, not compressed, so that sizes are plain. Gives the digests of manifest and config."""
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "2026-11-24T00:00:00Z",
            "config": {"Labels": dict(labels or {})},
            "rootfs": {"type": "layers", "diff_ids": [digest(each) for each in layers]},
            "history": [{"created_by": f"step {number}"} for number, _ in enumerate(layers, 1)],
        }
    ).encode()
    described = [{"mediaType": f"{OCI}.layer.v1.tar", "digest": digest(each), "size": len(each)} for each in layers]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": {"mediaType": f"{OCI}.config.v1+json", "digest": digest(config), "size": len(config)},
            "layers": described,
        }
    ).encode()
    named = {"mediaType": f"{OCI}.manifest.v1+json", "digest": digest(manifest), "size": len(manifest)}
    with tarfile.open(path, "w") as archive:
        add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": [named]}).encode())
        for blob in {*layers, config, manifest}:
            add(archive, f"blobs/{digest(blob).replace(':', '/')}", blob)
    return {"manifest": digest(manifest), "config": digest(config)}
