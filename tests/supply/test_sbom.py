"""The SBOM names what is in the image, no more and no less; what is there is found here in another way."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from project import ROOT, script

Document = dict[str, Any]
Packages = set[tuple[str, str, str]]  # kind, name, version


def docker(*command: str) -> bytes:
    return subprocess.run(["docker", *command], check=True, capture_output=True, timeout=120).stdout


@pytest.fixture(scope="module")
def written(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sbom") / "image.cdx.json"
    done = script("sbom", image, out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def document(written: Path) -> Document:
    """A copy of its own for each test, to be broken."""
    parsed: Document = json.loads(written.read_text())
    return parsed


@pytest.fixture(scope="module")
def there(image: str) -> Packages:
    """By the names of folders and dpkg's own file, copied out: neither importlib.metadata nor dpkg is asked."""
    found = docker(
        *("run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "find", image),
        *("/", "-xdev", "-path", "*.dist-info/METADATA"),
    ).decode()
    folders = [Path(line).parent.name.removesuffix(".dist-info") for line in found.splitlines()]
    python = {("pypi", re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in map(split, folders)}
    container = docker("create", image).decode().strip()
    try:
        copied = docker("cp", f"{container}:/var/lib/dpkg/status", "-")
    finally:
        docker("rm", container)
    with tarfile.open(fileobj=io.BytesIO(copied)) as archive:
        status = archive.extractfile("status")
        assert status is not None
        return python | set(installed(status.read().decode()))


def split(folder: str) -> tuple[str, str]:
    name, _, version = folder.partition("-")
    return name, version


def installed(status: str) -> Iterator[tuple[str, str, str]]:
    for stanza in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Status): (.+)$", stanza, re.MULTILINE))
        if fields.get("Status") == "install ok installed":
            yield "deb", fields["Package"], fields["Version"]


def named(document: Document) -> Packages:
    purls = [PackageURL.from_string(component["purl"]) for component in document["components"]]
    assert all(
        (purl.name, purl.version) == (component["name"], component["version"])
        for purl, component in zip(purls, document["components"], strict=True)
    )
    return {(purl.type, purl.name, str(purl.version)) for purl in purls}


def component(document: Document, name: str) -> Document:
    (found,) = [each for each in document["components"] if each["name"] == name]
    return dict(found)


def test_it_names_what_is_in_the_image_no_more_and_no_less(document: Document, there: Packages) -> None:
    assert len([kind for kind, *_ in there if kind == "deb"]) > 100
    assert len([kind for kind, *_ in there if kind == "pypi"]) > 100
    assert named(document) == there


@pytest.mark.parametrize("name", ["numpy", "gcc"])
def test_a_line_that_is_missing_is_seen(document: Document, there: Packages, name: str) -> None:
    document["components"].remove(component(document, name))
    assert {each for _, each, _ in there ^ named(document)} == {name}


@pytest.mark.parametrize("name", ["numpy", "gcc"])
def test_a_version_that_is_another_is_seen(document: Document, there: Packages, name: str) -> None:
    (changed,) = [each for each in document["components"] if each["name"] == name]
    changed["purl"] = changed["purl"].replace(changed["version"], "0.0.1")
    changed["version"] = "0.0.1"
    assert {each for _, each, _ in there ^ named(document)} == {name}


def test_it_fits_the_schema_and_a_broken_one_does_not(written: Path, document: Document) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(written.read_text()) is None
    del document["components"][0]["type"]
    assert validator.validate_str(json.dumps(document)) is not None


def test_each_locked_package_has_the_hashes_of_the_lock(document: Document) -> None:
    locks = [ROOT / "requirements" / f"{layer}.txt" for layer in ("cuda", "torch", "science", "jupyter")]
    text = "".join(lock.read_text() for lock in locks)
    pins = re.findall(r"^([a-z0-9-]+)==([^\s;]+).*\n((?:    --hash=.*\n)+)", text, re.MULTILINE)
    components = {each["purl"]: each for each in document["components"]}
    checked = 0
    for name, version, lines in pins:
        if f"pkg:pypi/{name}@{version}" in components:
            (origin,) = components[f"pkg:pypi/{name}@{version}"]["externalReferences"]
            assert {each["content"] for each in origin["hashes"]} == set(re.findall(r"sha256:(\w{64})", lines)), name
            checked += 1
    assert checked > 150


def test_a_debian_package_has_the_hash_of_its_deb(document: Document) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", component(document, "tini")["hashes"][0]["content"])


@pytest.mark.parametrize(
    ("name", "licenses"),
    [
        ("numpy", [{"expression": "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0"}]),  # an expression
        ("babel", [{"license": {"id": "BSD-3-Clause"}}]),  # the field of one line
        ("tini", [{"license": {"name": "Expat"}}]),  # a machine-readable copyright file
    ],
)
def test_the_licence_is_what_the_package_says(document: Document, name: str, licenses: list[Document]) -> None:
    found = component(document, name)["licenses"]
    for each in found:
        each.pop("acknowledgement", None)
        each.get("license", {}).pop("acknowledgement", None)
    assert found == licenses


def test_it_is_tied_to_one_image_and_the_same_again(
    written: Path, document: Document, image: str, tmp_path: Path
) -> None:
    identity = docker("image", "inspect", "--format", "{{.Id}}", image).decode().strip()
    assert document["metadata"]["component"]["properties"] == [{"name": "image-id", "value": identity}]
    script("sbom", image, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == written.read_bytes()


def test_an_image_that_is_not_there_gets_one_line_and_no_file(tmp_path: Path) -> None:
    done = script("sbom", "torch-workstation:none", tmp_path / "out")
    assert (done.returncode, done.stderr.count("\n")) == (66, 1)
    assert not (tmp_path / "out").exists()


def test_an_image_that_cannot_answer_gets_one_line_and_no_file(empty_image: str, tmp_path: Path) -> None:
    done = script("sbom", empty_image, tmp_path / "out")
    assert (done.returncode, done.stderr.count("\n")) == (65, 1), done.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture
def empty_image() -> Iterator[str]:
    archive = io.BytesIO()
    tarfile.open(fileobj=archive, mode="w").close()
    loaded = subprocess.run(["docker", "import", "-"], input=archive.getvalue(), check=True, capture_output=True)
    identity = loaded.stdout.decode().strip()
    yield identity
    docker("image", "rm", identity)
