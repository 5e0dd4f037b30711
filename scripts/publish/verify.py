"""Is what a registry has under a name what was published: signed, with a signed SBOM and a signed provenance?"""

from __future__ import annotations

import json
from collections.abc import Iterator

from registry import INDEX, PROVENANCE, SBOM, Manifest
from signature import Verifier
from tool import PublishError


def verify(reference: str, verifier: Verifier) -> Iterator[str]:
    """A line for each thing that holds.

    Raises:
        PublishError: the first that does not (1), or the registry has no such image (69).
    """
    named = Manifest.resolve(reference)
    verifier.require(named)
    yield f"{named.reference}: signed"
    for image in named.platforms():
        if named.content.get("mediaType") == INDEX:
            verifier.require(image)
        sbom = _signed(image, SBOM, "SBOM", verifier)
        statement = _signed(image, PROVENANCE, "provenance", verifier)
        commit = _commit(image, statement)
        yield f"{image.digest}: SBOM {sbom.digest[:19]}, provenance {statement.digest[:19]} of commit {commit}, signed"


def _signed(image: Manifest, kind: str, name: str, verifier: Verifier) -> Manifest:
    """The one attachment of that kind that the verifier accepts; whoever may push can attach others."""
    attached = image.referrers(kind)
    signed = [each for each in attached if verifier.accepts(each)]
    if len(signed) != 1:
        raise PublishError(
            f"{image.digest} has {len(attached)} {name} attached, {len(signed)} of them signed as asked",
            "One must be",
            1,
        )
    return signed[0]


def _commit(image: Manifest, statement: Manifest) -> str:
    document = json.loads(statement.blob(statement.content["layers"][0]["digest"]))
    subjects = [f"sha256:{each['digest']['sha256']}" for each in document["subject"]]
    if subjects != [image.digest]:
        raise PublishError(f"the provenance is about {subjects}, not about {image.digest}", "Do not run it", 1)
    return str(document["predicate"]["buildDefinition"]["externalParameters"]["revision"])[:12]
