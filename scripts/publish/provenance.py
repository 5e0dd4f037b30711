"""From what an image was built, as an in-toto statement with SLSA's provenance (slsa.dev/spec/v1.0/provenance)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tool import PublishError

ROOT = Path(__file__).resolve().parents[2]
LABELS = "org.opencontainers.image."
REVISION = f"{LABELS}revision"
STATEMENT, PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
# A type is a name for how to read the parameters; `make release` is how they are used.
BUILD_TYPE = "urn:torch-workstation:make-release:v1"


def provenance(repository: str, digest: str, config: Mapping[str, Any]) -> str:
    """The statement about the image of that manifest and configuration, by its own labels and by git.

    Raises:
        PublishError: a label that says from what it was built is missing, or its commit is not in this checkout (65).
    """
    labels: dict[str, str] = config["config"].get("Labels") or {}
    commit = _commit(labels.get(REVISION, ""))
    base, base_digest = (labels.get(f"{LABELS}base.{name}", "") for name in ("name", "digest"))
    if not base or not base_digest.startswith("sha256:"):
        raise PublishError(
            "the image's labels do not name its base by digest",
            "`make release` writes them where the base came from a registry, not from scripts/base-image",
            65,
        )
    source = _source()
    statement: dict[str, Any] = {
        "_type": STATEMENT,
        "subject": [{"name": repository, "digest": _digest(digest)}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"source": source, "revision": commit, "base": base},
                "internalParameters": {"architecture": config["architecture"], "created": config.get("created")},
                "resolvedDependencies": [
                    {"uri": f"git+{source}@{commit}", "digest": {"gitCommit": commit}},
                    {"uri": f"docker://{base}", "digest": _digest(base_digest)},
                ],
            },
            "runDetails": {"builder": {"id": _builder()}},
        },
    }
    return json.dumps(statement, indent=1) + "\n"


def _digest(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}


def _commit(revision: str) -> str:
    """The whole name of what a label abbreviates."""
    asked = ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    found = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    if not revision or not found:
        raise PublishError(
            f"the image's revision, {revision or 'none'}, is no commit here",
            "Publish from the checkout it was built in",
            65,
        )
    return found


def _source() -> str:
    if "GITHUB_REPOSITORY" in os.environ:
        return f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}"
    return "urn:torch-workstation:checkout"  # a remote's address may be a path, or carry a password


def _builder() -> str:
    """Who vouches: the hosted workflow, or whoever holds the key."""
    if "GITHUB_WORKFLOW_REF" in os.environ:
        return f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_WORKFLOW_REF']}"
    return "urn:torch-workstation:own-machine"
