"""The Python packages of an image that lies in a registry, by the SBOM that was attached when it was published.

Locks move on, a published image does not: what `latest` holds may have been mended here weeks ago.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from advisory import AuditError
from python_packages import Pin

SBOM = "application/vnd.cyclonedx+json"
PYTHON = "pkg:pypi/"


class NoSbomError(Exception):
    """Why there is none to read, as a part of a sentence."""


def attached_pins(image: str) -> set[Pin]:
    """Of every SBOM of every platform. Whose signatures they have is `scripts/publish verify`'s to say.

    Raises:
        NoSbomError: the image is in no registry, or one of its platforms has no SBOM that names any.
        AuditError: the registry does not answer (69).
    """
    host, slash, _ = image.partition("/")
    if not slash or not (host == "localhost" or set(host) & {".", ":"}):
        raise NoSbomError(f"{image} is of this engine")
    if shutil.which("oras") is None:
        raise NoSbomError("no oras is installed to look for an SBOM")
    repository, is_tagged = _repository(image)
    named = _json("manifest", "fetch", image if is_tagged else f"{image}:latest")
    if "manifests" in named:
        digests = [str(each["digest"]) for each in named["manifests"]]
    else:
        digests = [_oras("resolve", image if is_tagged else f"{image}:latest").strip()]
    return {pin for digest in digests for pin in _of_platform(repository, digest)}


def _of_platform(repository: str, digest: str) -> set[Pin]:
    found = _json("discover", "--format", "json", "--artifact-type", SBOM, f"{repository}@{digest}")
    listed = found.get("referrers", found.get("manifests")) or []  # oras 1.3 calls so what 1.2 calls manifests
    attached = [_json("manifest", "fetch", f"{repository}@{each['digest']}") for each in listed]
    attached = [each for each in attached if each.get("subject", {}).get("digest") == digest]
    if not attached:
        raise NoSbomError(f"{repository}@{digest[:19]} has no SBOM attached")
    blobs = [f"{repository}@{each['layers'][0]['digest']}" for each in attached]
    pins = {pin for blob in blobs for pin in _pins(_json("blob", "fetch", "--output", "-", blob))}
    if not pins:
        raise NoSbomError(f"the SBOM of {repository}@{digest[:19]} names no Python package")
    return pins


def _pins(document: dict[str, Any]) -> set[Pin]:
    components = document.get("components", [])
    return {(each["name"], each["version"]) for each in components if each.get("purl", "").startswith(PYTHON)}


def _repository(image: str) -> tuple[str, bool]:
    """Without tag and digest, and whether there was one; a port is no tag."""
    repository, at, _ = image.partition("@")
    host, slash, last = repository.rpartition("/")
    last, colon, _ = last.partition(":")
    return host + slash + last, bool(at or colon)


def _json(*arguments: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(_oras(*arguments))
    return parsed


def _oras(*arguments: str) -> str:
    done = subprocess.run(["oras", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no message"])[0]
        if "not found" in said:
            raise NoSbomError(f"the registry has no {arguments[-1]}")
        raise AuditError(f"no SBOM could be asked for: {said}", "Is the registry reachable? Logged in?", 69)
    return done.stdout
