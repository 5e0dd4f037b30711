"""An image in a registry, and what refers to it (OCI distribution 1.1)."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tool import PublishError, output

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SBOM = "application/vnd.cyclonedx+json"
PROVENANCE = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Manifest:
    """A manifest by its digest: what a signature is for, whatever becomes of the tag."""

    repository: str
    digest: str
    content: Mapping[str, Any]

    @classmethod
    def fetch(cls, repository: str, digest: str) -> Manifest:
        """Raises PublishError (1) where the registry gives something else under that digest."""
        raw = output("oras", "manifest", "fetch", f"{repository}@{digest}")
        if f"sha256:{hashlib.sha256(raw).hexdigest()}" != digest:
            raise PublishError(f"what the registry gives as {digest} is not that", "Do not run it", 1)
        return cls(repository, digest, json.loads(raw))

    @classmethod
    def resolve(cls, reference: str) -> Manifest:
        """Raises PublishError (69) where the registry has no such image."""
        return cls.fetch(repository_of(reference), output("oras", "resolve", reference).decode().strip())

    @property
    def reference(self) -> str:
        return f"{self.repository}@{self.digest}"

    @property
    def descriptor(self) -> dict[str, Any]:
        """As an index names it."""
        config = self.config()
        size = len(output("oras", "manifest", "fetch", self.reference))
        platform = {name: config[name] for name in ("architecture", "os", "variant") if name in config}
        return {"mediaType": self.content["mediaType"], "digest": self.digest, "size": size, "platform": platform}

    def config(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.blob(self.content["config"]["digest"]))
        return parsed

    def blob(self, digest: str) -> bytes:
        return output("oras", "blob", "fetch", "--output", "-", f"{self.repository}@{digest}")

    def platforms(self) -> list[Manifest]:
        """An index's images; an image is its own only one."""
        if self.content.get("mediaType") != INDEX:
            return [self]
        return [self.fetch(self.repository, each["digest"]) for each in self.content["manifests"]]

    def referrers(self, kind: str) -> list[Manifest]:
        """What says of itself that it is about this image; a list in the registry alone proves nothing."""
        asked = output("oras", "discover", "--format", "json", "--artifact-type", kind, self.reference)
        listed = json.loads(asked)
        listed = listed.get("referrers", listed.get("manifests")) or []  # oras 1.3 calls so what 1.2 calls manifests
        found = [self.fetch(self.repository, each["digest"]) for each in listed]
        return [each for each in found if each.content.get("subject", {}).get("digest") == self.digest]

    def attach(self, kind: str, name: str, text: str) -> Manifest:
        """`name` is what the file is called where it is pulled. What is attached already is not attached again."""
        content = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        for each in self.referrers(kind):
            if [layer["digest"] for layer in each.content["layers"]] == [content]:
                return each
        options = ["--format", "json", "--artifact-type", kind]
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, name).write_text(text)
            made = output("oras", "attach", *options, self.reference, f"{name}:{kind}", cwd=Path(folder))
        return self.fetch(self.repository, json.loads(made)["digest"])


def repository_of(reference: str) -> str:
    """Without tag and digest; a port is no tag."""
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


@dataclass(frozen=True)
class Layout:
    """The one image of an OCI layout in a tar file."""

    path: Path
    digest: str
    config: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Layout:
        """Raises PublishError (65) where the file holds no such layout."""
        try:
            with tarfile.open(path, "r:") as archive:
                (image,) = _member(archive, "index.json")["manifests"]
                manifest = _member(archive, _blob(image["digest"]))
                config = _member(archive, _blob(manifest["config"]["digest"]))
        except (OSError, KeyError, ValueError, AssertionError, tarfile.TarError) as error:
            raise PublishError(f"{path} holds no OCI image: {error}", "`make release` writes one", 65) from error
        return cls(path, image["digest"], config)

    def push(self, reference: str) -> Manifest:
        """As it is: no byte is compressed anew. Raises PublishError (69) where the registry does not take it."""
        output("oras", "copy", "--from-oci-layout", f"{self.path}@{self.digest}", reference)
        return Manifest.fetch(repository_of(reference), self.digest)


def _member(archive: tarfile.TarFile, name: str) -> dict[str, Any]:
    file = archive.extractfile(name)
    assert file is not None, f"{name} is no file"
    parsed: dict[str, Any] = json.load(file)
    return parsed


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def push_index(reference: str, images: list[Manifest]) -> Manifest:
    """One name for the images of several platforms."""
    content = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [image.descriptor for image in images]}
    output("oras", "manifest", "push", "--media-type", INDEX, reference, "-", given=json.dumps(content).encode())
    return Manifest.resolve(reference)
