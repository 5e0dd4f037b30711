"""`make audit` fails for what it should, and says so where it cannot know.

OSV is a server on loopback that knows what each test says; apt is the image's own, with a security suite in a folder.
"""

from __future__ import annotations

import datetime
import http.server
import json
import re
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from project import ROOT, script
from publishing import SBOM, Publisher, repository_of, sbom_of
from registry import path_with_tools

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


def audit(image: str, address: str, *options: str | Path, environment: Mapping[str, str] | None = None) -> Ran:
    return script("audit", image, *options, environment={"PIP_AUDIT_OSV_URL": address, **(environment or {})})


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
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, ["advisories: 0, allowed: 0"]), done.stderr
    assert re.match(
        rf"asked     \d{{3}} Python packages by this checkout's locks: {up_to_date} is of this engine; \d+ more",
        done.stdout,
    )


def test_a_flaw_of_a_locked_version_fails(up_to_date: str) -> None:
    with osv(CANARY, FLAW) as address:
        done = audit(up_to_date, address)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1] == "advisory  urllib3 2.8.0: CVE-2026-0001, GHSA-CVE-2026-0001; fixed in 99.0"


def test_a_flaw_of_the_hub_fails(up_to_date: str) -> None:
    """It is the part that faces people, and no image holds it."""
    lock = (ROOT / "deploy" / "jupyterhub" / "requirements.txt").read_text()
    (version,) = re.findall(r"^dockerspawner==(\S+)", lock, re.MULTILINE)
    with osv(CANARY, ("dockerspawner", version, "CVE-2026-0002")) as address:
        done = audit(up_to_date, address)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].startswith(f"advisory  dockerspawner {version}: CVE-2026-0002")


@pytest.fixture
def name(reference: str) -> Iterator[str]:
    """Of an image of a few kilobytes in the registry. The audit pulls it and finds no apt there to ask."""
    yield reference
    subprocess.run(["docker", "image", "rm", "--force", reference], check=True, capture_output=True)


def test_a_published_image_is_asked_about_by_its_sbom(publisher: Publisher, name: str, tmp_path: Path) -> None:
    """What main has mended since is still in it; what main has now is not."""
    identity = publisher.push(name)["manifest"]
    (tmp_path / "sbom.json").write_text(sbom_of(identity, ("torch", "1.0"), ("numpy", "1.0")))
    assert publisher("attach", name, tmp_path / "sbom.json", "--key", publisher.key).returncode == 0
    (now,) = re.findall(r"^torch==(\S+)", (ROOT / "requirements" / "torch.txt").read_text(), re.MULTILINE)
    with osv(CANARY, ("torch", "1.0", "CVE-2026-0003"), ("torch", now, "CVE-2026-0004")) as address:
        done = audit(name, address, environment=publisher.environment)
    asked, *told = done.stdout.splitlines()
    assert asked.startswith(f"asked     2 Python packages by the SBOM attached to {name}; ")
    assert told[0].startswith("advisory  torch 1.0: CVE-2026-0003")
    assert told[1:] == ["advisories: 1, allowed: 0"]


def test_a_published_image_without_a_list_of_packages_is_asked_about_by_the_locks(
    publisher: Publisher, name: str
) -> None:
    publisher.push(name)
    with osv(CANARY, FLAW) as address:
        done = audit(name, address, environment=publisher.environment)
    assert "Python packages by this checkout's locks: the SBOM of " in done.stdout
    assert "advisory  urllib3 2.8.0" in done.stdout


def test_of_several_platforms_each_must_have_its_sbom(publisher: Publisher, name: str, tmp_path: Path) -> None:
    parts = [f"{repository_of(name)}:1-{architecture}" for architecture in ("amd64", "arm64")]
    for number, part in enumerate(parts):
        digests = publisher.push(part, architecture=part.rpartition("-")[2])
        (tmp_path / "sbom.json").write_text(sbom_of(digests["manifest"], ("torch", f"1.{number}")))
        assert publisher("attach", part, tmp_path / "sbom.json", "--key", publisher.key).returncode == 0
    assert publisher("join", name, *parts, "--key", publisher.key).returncode == 0
    flaws = [("torch", f"1.{number}", f"CVE-2026-000{number}") for number in range(2)]
    with osv(CANARY, *flaws) as address:
        whole = audit(name, address, environment=publisher.environment)
        for digest in publisher.referrers(parts[1], SBOM):
            publisher.run("oras", "manifest", "delete", "--force", f"{repository_of(name)}@{digest}")
        broken = audit(name, address, environment=publisher.environment)
    assert sorted(line[:19] for line in whole.stdout.splitlines()[1:3]) == [
        "advisory  torch 1.0",
        "advisory  torch 1.1",
    ]
    assert "has no SBOM attached; " in broken.stdout


def test_a_registry_that_does_not_answer_is_no_all_clear() -> None:
    with osv(CANARY) as address:
        done = audit("localhost:1/none:1", address, environment={"PATH": path_with_tools()})
    assert done.returncode == 69
    assert "no SBOM could be asked for" in done.stderr


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
    assert done.stdout.splitlines()[1].startswith("advisory  tini 0.19"), done.stdout
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
    assert done.stdout.splitlines()[1].startswith("allowed   urllib3 2.8.0: ")
    assert done.stdout.endswith(f"[until {TOMORROW}: not reached]\nadvisories: 0, allowed: 1\n")
