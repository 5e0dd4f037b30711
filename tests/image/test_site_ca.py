"""The CA that a site's proxy signs with goes into the build as a secret, and is in no layer of what comes out."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

import pytest
from lab import run
from requests.certs import where
from this_machine import ROOT, base_image, setting

from imagecheck.engine.packing import unpacked
from workstation.server import self_signed

PUBLIC = "/etc/ssl/certs/ca-certificates.crt"
BUILT = "torch-workstation-site-ca:test"
CHUNK = 1 << 20


def certificates(bundle: str) -> set[str]:
    return set(re.findall(r"-----BEGIN CERTIFICATE-----\n(.+?)\n-----END", bundle, re.DOTALL))


def a_line_of(certificate: str) -> bytes:
    """Out of its middle: the first ones are alike."""
    lines = certificate.splitlines()
    return lines[len(lines) // 2].encode()


@pytest.fixture(scope="module")
def public(image: str) -> set[str]:
    """What the image's distribution ships: found in a layer, it shows that layers can be searched at all."""
    return certificates(run(image, "cat", PUBLIC).output)


@pytest.fixture
def site(public: set[str]) -> list[bytes]:
    """A line of each certificate of the site's that neither distribution ships."""
    named = setting("CA_BUNDLE")
    shipped = set(public)
    for file in Path("/usr/share/ca-certificates").rglob("*.crt"):
        shipped |= certificates(file.read_text())
    private = certificates((ROOT / named).read_text()) - shipped if named else set()
    if not private:
        pytest.skip(f"this machine has no CA of its own (CA_BUNDLE={named})")
    return [a_line_of(each) for each in sorted(private)]


def found(image: str, wanted: Sequence[bytes]) -> set[bytes]:
    """Which of these lines any layer holds, the image's whole history included."""
    seen: set[bytes] = set()
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
        assert saved.stdout is not None
        with tarfile.open(fileobj=saved.stdout, mode="r|", bufsize=CHUNK) as export:
            for member in export:
                if member.isfile():
                    seen |= lines_in(unpacked(cast("BufferedReader", export.extractfile(member))), wanted)
    return seen


def lines_in(file: IO[bytes], wanted: Sequence[bytes]) -> set[bytes]:
    seen, rest, longest = set(), b"", max(map(len, wanted))
    while chunk := file.read(CHUNK):
        block = rest + chunk
        seen |= {line for line in wanted if line in block}
        rest = block[-longest:]
    return seen


def test_the_sites_ca_is_in_no_layer(image: str, public: set[str], site: list[bytes]) -> None:
    known = a_line_of(min(public))
    assert found(image, [known, *site]) == {known}


def test_a_ca_that_a_build_is_handed_is_in_no_layer(public: set[str], tmp_path: Path) -> None:
    """On a machine without a CA of its own, too: a stage of the Dockerfile, which here installs one package."""
    self_signed.make_ready(tmp_path / "own.pem", tmp_path / "own.key")
    (own,) = certificates((tmp_path / "own.pem").read_text())
    trusted = (ROOT / (setting("CA_BUNDLE") or "/dev/null")).read_text() or Path(where()).read_text()
    (tmp_path / "secret").write_text(trusted + (tmp_path / "own.pem").read_text())
    known = a_line_of(min(public))
    try:
        build(context_of_one_package(tmp_path / "context"), tmp_path / "secret")
        assert found(BUILT, [known, a_line_of(own)]) == {known}
    finally:
        subprocess.run(["docker", "image", "rm", "--force", BUILT], check=True, capture_output=True)


def context_of_one_package(folder: Path) -> Path:
    shutil.copytree(ROOT / "docker", folder / "docker")
    first = re.search(r"^\w.*?(?=^\w)", (ROOT / "requirements/jupyter.txt").read_text(), re.MULTILINE | re.DOTALL)
    assert first is not None
    (folder / "requirements").mkdir()
    (folder / "requirements" / "jupyter.txt").write_text(first[0])
    return folder


def build(context: Path, secret: Path) -> None:
    command = ["docker", "buildx", "build", "--load", "--provenance=false", "--no-cache-filter=jupyter"]
    command += ["--target=jupyter", f"--secret=id=ca,src={secret}", f"--tag={BUILT}", f"--file={ROOT / 'Dockerfile'}"]
    settings = {"BASE_IMAGE": base_image(), "PIP_INDEX_URL": setting("PIP_INDEX_URL")}
    settings |= {name: setting(name) for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")}
    command += [f"--build-arg={name}={value}" for name, value in settings.items() if value]
    done = subprocess.run([*command, context], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
