"""The CA that a site's proxy signs with goes into the build as a secret, and is in no layer of what comes out."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from lab import run

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = "/etc/ssl/certs/ca-certificates.crt"
CHUNK = 16 << 20


def certificates(bundle: str) -> set[str]:
    return set(re.findall(r"-----BEGIN CERTIFICATE-----\n(.+?)\n-----END", bundle, re.DOTALL))


@pytest.fixture(scope="module")
def own(image: str) -> list[bytes]:
    """A line out of the middle of each certificate of the site's that neither distribution ships."""
    named = re.search(r"^CA_BUNDLE=(.+)$", (ROOT / ".env").read_text(), re.MULTILINE)
    if named is None:
        pytest.skip("this machine has no CA of its own (CA_BUNDLE)")
    shipped = certificates(run(image, "cat", PUBLIC).output)
    for file in Path("/usr/share/ca-certificates").rglob("*.crt"):
        shipped |= certificates(file.read_text())
    private = certificates(Path(named[1]).read_text()) - shipped
    if not private:
        pytest.skip(f"{named[1]} holds public CAs alone")
    return [body.splitlines()[len(body.splitlines()) // 2].encode() for body in sorted(private)]


def found(image: str, wanted: list[bytes]) -> set[bytes]:
    """Which of these lines any layer holds, the image's whole history included."""
    seen, rest, longest = set(), b"", max(map(len, wanted))
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
        assert saved.stdout is not None
        while chunk := saved.stdout.read(CHUNK):
            block = rest + chunk
            seen |= {line for line in wanted if line in block}
            rest = block[-longest:]
    return seen


def test_the_sites_ca_is_in_no_layer(image: str, own: list[bytes]) -> None:
    public = min(certificates(run(image, "cat", PUBLIC).output)).splitlines()[2].encode()
    seen = found(image, [public, *own])
    if public not in seen:
        pytest.skip("this engine keeps layers packed: they cannot be searched as they are")
    assert not seen & set(own)
