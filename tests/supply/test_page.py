"""docs/supply-chain.md: what is under "Verify" is run as it stands there, on a release and on one tampered with."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from project import ROOT
from publishing import SBOM, Publisher, repository_of, sbom_of
from registry import layer, oci_image

PAGE = (ROOT / "docs" / "supply-chain.md").read_text()
VERIFY = PAGE.partition("\n## Verify\n")[2].partition("\n## ")[0]
IN_ONE, BY_HAND = re.findall(
    r"^```sh\n(.*?)^```$", VERIFY.partition("**Not run by a test**")[0], re.MULTILINE | re.DOTALL
)


def test_every_block_says_what_of_it_was_run() -> None:
    """In its own section, outside of the block."""
    for section in PAGE.split("\n## ")[1:]:
        prose, *blocks = re.split(r"^```sh$", section, flags=re.MULTILINE)
        prose += "".join(block.partition("\n```\n")[2] for block in blocks)
        assert not blocks or re.search(r"\brun by\b", prose), section.partition("\n")[0]


def run(publisher: Publisher, block: str, reference: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "scripts").symlink_to(ROOT / "scripts")
    environment = os.environ | publisher.environment | {"IMAGE": reference, "KEY": str(publisher.public)}
    command = ["bash", "-euo", "pipefail", "-c", block]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("block", [IN_ONE, BY_HAND], ids=["in one", "by hand"])
def test_it_accepts_what_was_published(publisher: Publisher, published: str, tmp_path: Path, block: str) -> None:
    done = run(publisher, block, published, tmp_path)
    assert done.returncode == 0, done.stderr
    if block == BY_HAND:
        assert {path.name for path in tmp_path.glob("*/*.json")} == {"sbom.cdx.json", "provenance.json"}


@pytest.mark.parametrize("block", [IN_ONE, BY_HAND], ids=["in one", "by hand"])
def test_it_accepts_two_signed_sboms(publisher: Publisher, reference: str, tmp_path: Path, block: str) -> None:
    digests = publisher.push(reference)
    publisher.attach_signed(reference, SBOM, json.loads(sbom_of(digests["manifest"])) | {"version": 2})
    done = run(publisher, block, reference, tmp_path)
    assert done.returncode == 0, done.stderr
    if block == BY_HAND:
        assert len(list(tmp_path.glob("*/*.json"))) == 3


@pytest.mark.parametrize("block", [IN_ONE, BY_HAND], ids=["in one", "by hand"])
def test_it_refuses_an_image_without_its_sbom(publisher: Publisher, reference: str, tmp_path: Path, block: str) -> None:
    publisher.push(reference)
    (digest,) = publisher.referrers(reference, SBOM)
    publisher.run("oras", "manifest", "delete", "--force", f"{repository_of(reference)}@{digest}")
    assert run(publisher, block, reference, tmp_path).returncode != 0


@pytest.mark.parametrize("block", [IN_ONE, BY_HAND], ids=["in one", "by hand"])
def test_it_refuses_another_image(publisher: Publisher, reference: str, tmp_path: Path, block: str) -> None:
    publisher.push(reference)
    digest = oci_image(tmp_path / "other.tar", layer(file=b"tampered"))["manifest"]
    publisher.run("oras", "copy", "--from-oci-layout", f"{tmp_path / 'other.tar'}@{digest}", reference)
    assert run(publisher, block, reference, tmp_path).returncode != 0
