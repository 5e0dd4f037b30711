"""Publishing a small image, as the tests do it."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from project import ROOT, script
from registry import Registry, layer, oci_image

COMMIT = subprocess.run(
    ["git", "-C", ROOT, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
).stdout.strip()
LABELS = {
    "org.opencontainers.image.revision": COMMIT[:7],
    "org.opencontainers.image.base.name": "base:1",
    "org.opencontainers.image.base.digest": f"sha256:{'b' * 64}",
}
SBOM, PROVENANCE = "application/vnd.cyclonedx+json", "application/vnd.in-toto+json"
Ran = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Publisher:
    """The scripts and tools, with a registry and a key pair of their own."""

    registry: Registry
    folder: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str | Path) -> Ran:
        return script("publish", *arguments, environment=self.environment)

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        environment = os.environ | self.environment
        words = [str(word) for word in command]
        done = subprocess.run(words, env=environment, cwd=cwd, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def key(self) -> Path:
        return self.folder / "cosign.key"

    @property
    def public(self) -> Path:
        return self.folder / "cosign.pub"

    def push(self, reference: str, content: bytes = b"", architecture: str = "amd64") -> dict[str, str]:
        """The image and its SBOM. No other test has its blobs: a registry keeps each content once."""
        layout, sbom = self.folder / f"{uuid.uuid4().hex}.tar", self.folder / f"{uuid.uuid4().hex}.json"
        digests = oci_image(layout, layer(file=content or uuid.uuid4().bytes), labels=LABELS, architecture=architecture)
        pushed = self("push", layout, reference, "--key", self.key)
        assert pushed.returncode == 0, pushed.stderr
        sbom.write_text(sbom_of(digests["config"]))
        attached = self("attach", reference, sbom, "--key", self.key)
        assert attached.returncode == 0, attached.stderr
        return digests

    def verify(self, reference: str) -> Ran:
        return self("verify", reference, "--key", self.public)

    def referrers(self, reference: str, kind: str) -> list[str]:
        asked = self.run("oras", "discover", "--format", "json", "--artifact-type", kind, reference)
        return [each["digest"] for each in json.loads(asked)["manifests"] or []]


def sbom_of(identity: str) -> str:
    properties = [{"name": "image-id", "value": identity}]
    return json.dumps({"bomFormat": "CycloneDX", "metadata": {"component": {"properties": properties}}})


def repository_of(reference: str) -> str:
    return reference.rpartition(":")[0]
