"""What only the finished image can say of itself, put into its configuration: its commit's time, what it is made of.

Neither touches a layer. Files and steps have a date that no commit changes, so that a layer which did not change is not
pulled again; the image's own date is its commit's all the same.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layout import Image, blob_name

MANIFEST = "opt/workstation/build.json"  # docker/build-manifest writes it
LABEL = "org.torch-workstation.build"
BASE = "org.opencontainers.image.base.name"


@dataclass
class _Blobs:
    """What takes the place of a configuration, a manifest and an index."""

    replaced: set[str]
    added: dict[str, bytes] = field(default_factory=dict)

    def add(self, document: dict[str, Any]) -> dict[str, Any]:
        """A descriptor's digest and size."""
        content = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.added[blob_name(digest)] = content
        return {"digest": digest, "size": len(content)}


def seal(path: Path, commit_time: int) -> Image:
    """Date the image in `path` by its commit and give it its build manifest as a label; the image as it is then."""
    image = Image.read(path)
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(commit_time))
    config: dict[str, Any] = image.config | {"created": date}
    labels = {**config["config"].get("Labels", {}), "org.opencontainers.image.created": date}
    if (base := labels.get(BASE)) is not None:
        labels[BASE] = base.partition("@")[0]  # its digest is a label of its own
    if (written := image.text(MANIFEST)) is not None:
        labels[LABEL] = json.dumps(json.loads(written), separators=(",", ":"))
    config["config"] = config["config"] | {"Labels": labels}
    blobs = _Blobs({blob_name(image.digest), blob_name(image.manifest["config"]["digest"]), "index.json"})
    manifest = image.manifest | {"config": image.manifest["config"] | blobs.add(config)}
    index: dict[str, Any] = image.index
    index["manifests"] = [index["manifests"][0] | blobs.add(manifest)]
    blobs.added["index.json"] = json.dumps(index).encode()
    _rewrite(path, blobs)
    return Image.read(path)


def _rewrite(path: Path, blobs: _Blobs) -> None:
    partial = path.with_suffix(".partial")
    with tarfile.open(path) as old, tarfile.open(partial, "w") as new:
        for entry in old:
            if entry.name not in blobs.replaced:
                new.addfile(entry, old.extractfile(entry) if entry.isfile() else None)
        for name, content in blobs.added.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            new.addfile(entry, io.BytesIO(content))
    partial.replace(path)
