"""The SBOM that scripts/sbom wrote, and which image it is of."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from registry import Manifest
from tool import PublishError

IMAGE_ID = "image-id"  # scripts/sbom writes this property


def image_ids(document: dict[str, Any]) -> set[str]:
    """What the document says it is of; nothing where it is no SBOM of an image."""
    try:
        properties = document["metadata"]["component"]["properties"]
        return {each["value"] for each in properties if each["name"] == IMAGE_ID}
    except (KeyError, TypeError):
        return set()


def sbom_of(image: Manifest, file: Path) -> str:
    """The document as it is attached.

    An engine calls an image by its config's digest, or, with containerd's store, by its manifest's. What is attached
    names the manifest, so that two engines write one document.

    Raises:
        PublishError: it is no SBOM, or one of another image (65).
    """
    try:
        document: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise PublishError(f"{file} is no SBOM of an image: {error}", "scripts/sbom writes one", 65) from error
    named = image_ids(document)
    if not named:
        raise PublishError(f"{file} is no SBOM of an image: it has no {IMAGE_ID}", "scripts/sbom writes one", 65)
    if not named <= {image.digest, image.content["config"]["digest"]}:
        raise PublishError(f"{file} is of {' '.join(named)}", f"Pull {image.reference}, run scripts/sbom on it", 65)
    for each in document["metadata"]["component"]["properties"]:
        if each["name"] == IMAGE_ID:
            each["value"] = image.digest
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, image.digest).urn  # as scripts/sbom numbers them
    return json.dumps(document, indent=1) + "\n"
