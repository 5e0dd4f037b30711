"""Publishing a small image, as the tests do it."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

    def __call__(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Ran:
        return script("publish", *arguments, environment={**self.environment, **(environment or {})})

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

    def push(
        self,
        reference: str,
        content: bytes = b"",
        architecture: str = "amd64",
        environment: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """The image and its SBOM. No other test has its blobs: a registry keeps each content once."""
        layout, sbom = self.folder / f"{uuid.uuid4().hex}.tar", self.folder / f"{uuid.uuid4().hex}.json"
        digests = oci_image(layout, layer(file=content or uuid.uuid4().bytes), labels=LABELS, architecture=architecture)
        pushed = self("push", layout, reference, "--key", self.key, environment=environment)
        assert pushed.returncode == 0, pushed.stderr
        sbom.write_text(sbom_of(digests["config"]))
        attached = self("attach", reference, sbom, "--key", self.key, environment=environment)
        assert attached.returncode == 0, attached.stderr
        return digests

    def attach_signed(self, reference: str, kind: str, document: Mapping[str, object]) -> str:
        """As whoever holds the key can, without asking scripts/publish. Gives the digest of what was attached."""
        (self.folder / "document.json").write_text(json.dumps(document))
        asked = ("--format", "json", "--artifact-type", kind, reference, f"document.json:{kind}")
        digest = str(json.loads(self.run("oras", "attach", *asked, cwd=self.folder))["digest"])
        name = f"{repository_of(reference)}@{digest}"
        self.run("cosign", "sign", "--yes", "--key", self.key, "--tlog-upload=false", name)
        return digest

    def document(self, reference: str, kind: str) -> dict[str, Any]:
        """What the only attachment of that kind says."""
        (digest,) = self.referrers(reference, kind)
        manifest = json.loads(self.run("oras", "manifest", "fetch", f"{repository_of(reference)}@{digest}"))
        blob = f"{repository_of(reference)}@{manifest['layers'][0]['digest']}"
        parsed: dict[str, Any] = json.loads(self.run("oras", "blob", "fetch", "--output", "-", blob))
        return parsed

    def verify(self, reference: str) -> Ran:
        return self("verify", reference, "--key", self.public)

    def referrers(self, reference: str, kind: str) -> list[str]:
        asked = self.run("oras", "discover", "--format", "json", "--artifact-type", kind, reference)
        return [each["digest"] for each in json.loads(asked)["manifests"] or []]


def sbom_of(identity: str, *packages: tuple[str, str]) -> str:
    """`packages`: names and versions of Python's."""
    properties = [{"name": "image-id", "value": identity}]
    components = [{"name": name, "version": which, "purl": f"pkg:pypi/{name}@{which}"} for name, which in packages]
    document = {"bomFormat": "CycloneDX", "metadata": {"component": {"properties": properties}}}
    return json.dumps(document | {"components": components})


def repository_of(reference: str) -> str:
    return reference.rpartition(":")[0]
