"""`make audit` fails for what it should, and says so where it cannot know.

OSV is a server on loopback that knows what each test says; apt is the image's own, with a security suite in a folder.
"""

from __future__ import annotations

import datetime
import http.server
import json
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from project import script

TODAY = datetime.datetime.now(datetime.UTC).date()
YESTERDAY, TOMORROW = TODAY - datetime.timedelta(days=1), TODAY + datetime.timedelta(days=1)
CANARY = ("requests", "2.31.0", "CVE-2024-35195")
FLAW = ("urllib3", "2.8.0", "CVE-2026-0001")
Flaw = tuple[str, str, str]
Ran = subprocess.CompletedProcess[str]


@contextmanager
def osv(*flaws: Flaw) -> Iterator[str]:
    """The address of a server that answers as https://google.github.io/osv.dev/post-v1-query/ says."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = [record(flaw) for flaw in flaws if flaw[:2] == (asked["package"]["name"], asked["version"])]
            body = json.dumps({"vulns": known} if known else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def record(flaw: Flaw) -> dict[str, Any]:
    package, _, cve = flaw
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}]
    affected = [{"package": {"name": package, "ecosystem": "PyPI"}, "ranges": ranges}]
    return {"id": f"GHSA-{cve}", "summary": "a flaw", "aliases": [cve], "affected": affected}


Build = Callable[[str, str], str]


@pytest.fixture(scope="module")
def build(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """The image with apt sources of our own: a security suite, in a folder of the image, that has `version` of tini."""
    made: list[str] = []

    def make(suite: str, version: str) -> str:
        folder = tmp_path_factory.mktemp("apt")
        (folder / "Packages").write_text(
            f"Package: tini\nVersion: {version}\nArchitecture: amd64\nMaintainer: a\nDescription: b\n"
            f"Filename: ./tini.deb\nSize: 1\nSHA256: {'0' * 64}\n"
        )
        date = "Tue, 24 Nov 2026 00:00:00 UTC"
        (folder / "Release").write_text(f"Origin: Debian\nLabel: Debian-Security\nSuite: {suite}\nDate: {date}\n")
        (folder / "sources.list").write_text(f"deb [trusted=yes] file:/suites {suite}/\n")
        (folder / "Dockerfile").write_text(
            f"FROM {image}\nUSER 0\nRUN rm -f /etc/apt/sources.list.d/*\n"
            f"COPY sources.list /etc/apt/sources.list\nCOPY Packages Release /suites/{suite}/\n"
        )
        made.append(f"torch-workstation-test:{uuid.uuid4().hex[:8]}")
        command = ["docker", "buildx", "build", "--quiet", "--load", "--tag", made[-1], folder]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return made[-1]

    yield make
    subprocess.run(["docker", "image", "rm", "--force", *made], check=True, capture_output=True)


@pytest.fixture(scope="module")
def up_to_date(build: Build) -> str:
    return build("trixie-security", "0.0.1")


def audit(image: str, address: str, *options: str | Path) -> Ran:
    return script("audit", image, *options, environment={"PIP_AUDIT_OSV_URL": address})


def allowed(file: Path, **changes: object) -> Path:
    """The allow-list with one entry, which covers FLAW as long as it is not changed."""
    entry = {"package": FLAW[0], "id": FLAW[2], "reason": "not reached", "expires": TOMORROW} | changes
    lines = [
        f"{name} = {value if isinstance(value, datetime.date) else json.dumps(value)}" for name, value in entry.items()
    ]
    file.write_text("\n".join(["[[allowed]]", *lines]))
    return file


def test_no_flaw_no_failure(up_to_date: str) -> None:
    with osv(CANARY) as address:
        done = audit(up_to_date, address)
    assert (done.returncode, done.stdout) == (0, "advisories: 0, allowed: 0\n"), done.stderr


def test_a_flaw_of_a_locked_version_fails(up_to_date: str) -> None:
    with osv(CANARY, FLAW) as address:
        done = audit(up_to_date, address)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "advisory  urllib3 2.8.0: CVE-2026-0001, GHSA-CVE-2026-0001; fixed in 99.0"


def test_a_source_without_advisories_is_no_all_clear(up_to_date: str) -> None:
    with osv() as address:
        done = audit(up_to_date, address)
    assert done.returncode == 69
    assert "it has no advisories" in done.stderr


def test_a_source_that_does_not_answer_is_no_all_clear(up_to_date: str) -> None:
    done = audit(up_to_date, "http://127.0.0.1:1/v1/query")
    assert done.returncode == 69
    assert "Is OSV reachable?" in done.stderr


def test_an_update_in_the_security_suite_fails(build: Build) -> None:
    with osv(CANARY) as address:
        done = audit(build("trixie-security", "99.0-1"), address)
    assert done.returncode == 1
    assert done.stdout.startswith("advisory  tini 0.19"), done.stdout
    assert ": 99.0-1; is in Debian-Security:trixie-security: build the image anew\n" in done.stdout


def test_an_image_without_a_security_suite_is_no_all_clear(build: Build) -> None:
    with osv(CANARY) as address:
        done = audit(build("trixie", "99.0-1"), address)
    assert done.returncode == 69
    assert "no security suite" in done.stderr


def test_a_mirror_that_does_not_answer_is_no_all_clear(build: Build, tmp_path: Path) -> None:
    unreachable = tmp_path / "Dockerfile"
    unreachable.write_text(f"FROM {build('trixie-security', '0.0.1')}\nRUN rm -r /suites\n")
    tag = f"torch-workstation-test:{uuid.uuid4().hex[:8]}"
    subprocess.run(["docker", "buildx", "build", "--quiet", "--load", "--tag", tag, tmp_path], check=True)
    try:
        with osv(CANARY) as address:
            done = audit(tag, address)
    finally:
        subprocess.run(["docker", "image", "rm", tag], check=True, capture_output=True)
    assert done.returncode == 69
    assert "apt got no answer" in done.stderr


def test_an_allowed_flaw_passes_and_is_still_told(up_to_date: str, tmp_path: Path) -> None:
    with osv(CANARY, FLAW) as address:
        done = audit(up_to_date, address, "--allowed", allowed(tmp_path / "list.toml"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("allowed   urllib3 2.8.0: ")
    assert done.stdout.endswith(f"[until {TOMORROW}: not reached]\nadvisories: 0, allowed: 1\n")
