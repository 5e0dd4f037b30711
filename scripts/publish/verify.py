"""Is what a registry has under a name what was published: signed, with a signed SBOM and a signed provenance?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from provenance import REVISION
from registry import INDEX, PROVENANCE, SBOM, Manifest
from sbom import image_ids
from signature import Verifier
from tool import PublishError

STOP = "Do not run it"


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
        sboms = _signed(image, SBOM, "SBOM", verifier)
        statements = _signed(image, PROVENANCE, "provenance", verifier)
        for sbom in sboms:
            _require_of(image, sbom)
        commit = _commit(image, statements)
        yield f"{image.digest}: SBOM {_names(sboms)}, provenance {_names(statements)} of commit {commit}, signed"


def _signed(image: Manifest, kind: str, name: str, verifier: Verifier) -> list[Manifest]:
    """Those attachments of that kind that the verifier accepts; whoever may push can attach others.

    The same bits may be published twice, by another ref of the workflow or with newer tools: then there are several.
    """
    attached = image.referrers(kind)
    signed = [each for each in attached if verifier.accepts(each)]
    if not signed:
        raise PublishError(
            f"{image.digest} has {len(attached)} {name} attached, none of them signed as asked", "One must be", 1
        )
    return signed


def _names(attached: list[Manifest]) -> str:
    return " ".join(each.digest[:19] for each in attached)


def _require_of(image: Manifest, sbom: Manifest) -> None:
    """Raises PublishError (1) where a signed document is of another image, whatever it is attached to."""
    named = image_ids(_document(sbom))
    if not named or named - {image.digest, image.content["config"]["digest"]}:
        raise PublishError(f"{sbom.digest[:19]} is an SBOM of {_or_nothing(named)}, not of {image.digest}", STOP, 1)


def _commit(image: Manifest, statements: list[Manifest]) -> str:
    """The one that all of them name, and the image's own label, which its digest covers."""
    label = str((image.config()["config"].get("Labels") or {}).get(REVISION, ""))
    commits = set()
    for statement in statements:
        document = _document(statement)
        try:
            subjects = {f"sha256:{each['digest']['sha256']}" for each in document["subject"]}
            commit = str(document["predicate"]["buildDefinition"]["externalParameters"]["revision"])
        except (KeyError, TypeError) as error:
            raise PublishError(f"{statement.digest[:19]} is no provenance: no {error}", STOP, 1) from error
        if subjects != {image.digest}:
            raise PublishError(f"a provenance is about {_or_nothing(subjects)}, not about {image.digest}", STOP, 1)
        if not label or not commit.startswith(label):
            raise PublishError(f"a provenance names commit {commit}, the image's label {label or 'none'}", STOP, 1)
        commits.add(commit[:12])
    return " ".join(sorted(commits))


def _document(attached: Manifest) -> dict[str, Any]:
    try:
        document = json.loads(attached.blob(attached.content["layers"][0]["digest"]))
        if not isinstance(document, dict):
            raise ValueError("it is no JSON object")
    except (KeyError, IndexError, ValueError) as error:
        raise PublishError(f"{attached.digest[:19]} cannot be read: {error}", STOP, 1) from error
    return document


def _or_nothing(digests: set[str]) -> str:
    return " ".join(sorted(digests)) or "nothing"
