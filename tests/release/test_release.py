"""`make release` and `make reproduce` on an image of three lines: the same scripts and engine, seconds for minutes."""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from registry import path_with_tools, running_registry
from this_machine import ROOT, base_image

DOCKERFILE = """
ARG BASE_IMAGE
FROM ${{BASE_IMAGE}} AS workstation
ARG SOURCE_DATE_EPOCH
RUN {command}
COPY note /note
RUN mkdir -p /opt/workstation && echo '{{"made": "of this"}}' >/opt/workstation/build.json
ARG VERSION BASE_DIGEST
LABEL version=$VERSION base=$BASE_DIGEST org.opencontainers.image.base.name=a:1@sha256:b
FROM workstation AS devel
"""
Checkout = Callable[[str], Path]


@pytest.fixture(scope="session")
def builds_in_another_engine() -> bool:
    """As scripts/release does where this engine's store is not containerd's; that needs root."""
    asked = ["docker", "info", "--format", "{{json .DriverStatus}}"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    if "io.containerd.snapshotter" in told:
        return False
    if os.geteuid() != 0:
        pytest.skip("a release is built in an engine of its own here, and starting one needs root: sudo make image")
    return True


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A repository with a committed Dockerfile of one RUN line, and this one's release scripts."""
    return lambda command: made(tmp_path / "checkout", command)


@pytest.fixture(scope="module")
def released(builds_in_another_engine: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a repository, and the image of its commit in dist/, although a run before was killed in the middle."""
    root = made(tmp_path_factory.mktemp("released") / "checkout", "mkdir /made && touch /made/here")
    (root / "untracked").touch()
    if builds_in_another_engine:
        subprocess.run(["ip", "link", "add", "tw-release", "type", "bridge"], check=True)
    done = release(root, "build", "workstation")
    assert done.returncode == 0, done.stdout + done.stderr
    assert layout().Image.read(root / "dist" / "workstation.tar").digest in done.stdout
    return root


def made(root: Path, command: str, base: str = "") -> Path:
    shutil.copytree(ROOT / "scripts" / "release", root / "scripts" / "release")
    for file in ("docker-bake.hcl", "docker-compose.yml"):
        shutil.copy(ROOT / file, root)
    (root / ".env").write_text(f"BASE_IMAGE={base or base_image()}\n")
    (root / ".gitignore").write_text(".env\ndist/\n__pycache__/\n")
    (root / "Dockerfile").write_text(DOCKERFILE.format(command=command))
    (root / "src" / "workstation").mkdir(parents=True)
    (root / "src" / "workstation" / "__init__.py").write_text('__version__ = "7.8.9"\n')
    (root / "note").write_text("committed\n")
    subprocess.run(["git", "-C", root, "init", "--quiet"], check=True)
    commit(root)
    return root


def commit(root: Path, date: str = "2026-11-01T12:00:00Z") -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", "-C", root, "add", "."], check=True)
    command = ["git", "-C", root, *identity, "commit", "--quiet", "--message", "as it is"]
    subprocess.run(command, env=os.environ | {"GIT_COMMITTER_DATE": date}, check=True)


def release(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, root / "scripts" / "release", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.usefixtures("builds_in_another_engine")
def test_a_build_whose_steps_leave_nothing_of_their_own_time_is_the_same_twice(checkout: Checkout) -> None:
    done = release(checkout("mkdir /made && touch /made/here"), "reproduce", "workstation")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^workstation: sha256:[0-9a-f]{64} twice$", done.stdout, re.MULTILINE)


def test_the_engine_that_was_there_keeps_its_network(released: Path, image: str) -> None:  # noqa: ARG001
    after = subprocess.run(["docker", "run", "--rm", image, "true"], capture_output=True, text=True)
    assert after.returncode == 0, after.stderr


def test_two_releases_at_once_do_not_disturb_each_other(checkout: Checkout, builds_in_another_engine: bool) -> None:
    if not builds_in_another_engine:
        pytest.skip("this engine builds both, each into a folder of its own")
    state = Path("/var/lib/torch-workstation-release")
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = release(checkout("true"), "build", "workstation")
    assert done.returncode == 75
    assert done.stderr.strip() == "release: another release is being built here. Try again when it is done"


@pytest.mark.usefixtures("builds_in_another_engine")
def test_a_build_that_is_not_the_same_twice_names_the_layer_and_the_file(checkout: Checkout) -> None:
    done = release(checkout("head -c 8 /dev/urandom >/made-at-random"), "reproduce", "workstation")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^layer \d+, RUN .*urandom", done.stdout, re.MULTILINE)
    assert re.search(r"^    made-at-random: type 0 .* / type 0 ", done.stdout, re.MULTILINE)
    assert "note:" not in done.stdout


def test_a_release_is_the_commit_dated_by_it_and_says_what_it_is_made_of(released: Path) -> None:
    image = layout().Image.read(released / "dist" / "workstation.tar")
    assert {layer["mediaType"] for layer in image.layers} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    assert image.config["created"] == "2026-11-01T12:00:00Z"
    labels = image.config["config"]["Labels"]
    assert labels["org.opencontainers.image.created"] == "2026-11-01T12:00:00Z"
    assert json.loads(labels["org.torch-workstation.build"]) == {"made": "of this"}
    assert labels["version"] == "7.8.9"
    assert labels["org.opencontainers.image.base.name"] == "a:1"
    if base_image() == "torch-workstation-base:local":
        assert labels["base"] == "", "a base made here has no digest that another machine would know"


def test_a_base_of_a_registry_is_named_by_its_digest(builds_in_another_engine: bool, tmp_path: Path) -> None:  # noqa: ARG001
    with running_registry(tmp_path, path_with_tools()) as registry:
        base = f"{registry.address}/base:1"
        built = ["docker", "buildx", "build", "--load", "--provenance=false", "--tag", base, "-"]
        subprocess.run(built, input=f"FROM {base_image()}\n", text=True, check=True, capture_output=True)
        try:
            pushed = subprocess.run(["docker", "push", base], capture_output=True, text=True, check=True)
            root = made(tmp_path / "checkout", "true", base)
            done = release(root, "build", "workstation")
        finally:
            subprocess.run(["docker", "image", "rm", base], check=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    digest = re.search(r"sha256:[0-9a-f]{64}", pushed.stdout)
    assert digest is not None
    assert layout().Image.read(root / "dist" / "workstation.tar").config["config"]["Labels"]["base"] == digest[0]


def test_what_was_sealed_is_whole(released: Path) -> None:
    image = layout().Image.read(released / "dist" / "workstation.tar")
    found = set()
    with tarfile.open(image.path) as archive:
        for entry in archive:
            if entry.isfile() and entry.name.startswith("blobs/"):
                blob = archive.extractfile(entry)
                assert blob is not None
                digest = f"sha256:{hashlib.file_digest(cast('BufferedReader', blob), 'sha256').hexdigest()}"
                assert entry.name == layout().blob_name(digest)
                found.add(digest)
    named = {image.digest, image.manifest["config"]["digest"], *(layer["digest"] for layer in image.layers)}
    assert found == named


def test_what_a_commit_did_not_touch_is_not_pulled_again(released: Path) -> None:
    before = layout().Image.read(released / "dist" / "workstation.tar")
    (released / "note").write_text("changed\n")
    commit(released, date="2026-11-02T12:00:00Z")
    assert release(released, "build", "workstation").returncode == 0
    after = layout().Image.read(released / "dist" / "workstation.tar")
    assert before.config["created"] != after.config["created"]
    changed = [one["digest"] != other["digest"] for one, other in zip(before.layers, after.layers, strict=True)]
    assert changed[-3:] == [False, True, False], "the layers of touch, note and build.json"
    assert not any(changed[:-3])


def layout() -> ModuleType:
    sys.path.insert(0, str(ROOT / "scripts" / "release"))
    try:
        return importlib.import_module("layout")
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize("held", [b"", b"half of something"])
def test_a_file_that_holds_no_image_is_named_with_what_to_do(tmp_path: Path, held: bytes) -> None:
    (tmp_path / "workstation.tar").write_bytes(held)
    with pytest.raises(layout().ReleaseError, match=r"workstation\.tar holds no whole image\. Delete it"):
        layout().Image.read(tmp_path / "workstation.tar")


def written(path: Path, config: dict[str, Any], annotations: dict[str, str]) -> Path:
    """An OCI layout without a layer."""

    def add(archive: tarfile.TarFile, document: object, name: str = "") -> dict[str, str]:
        content = json.dumps(document).encode()
        digest = hashlib.sha256(content).hexdigest()
        entry = tarfile.TarInfo(name or f"blobs/sha256/{digest}")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
        return {"digest": f"sha256:{digest}"}

    with tarfile.open(path, "w") as archive:
        manifest = {"config": add(archive, config), "layers": [], "annotations": annotations}
        add(archive, {"manifests": [add(archive, manifest)]}, "index.json")
    return path


@pytest.mark.parametrize(
    ("config", "annotations", "line"),
    [
        ({"history": [{"created_by": "another"}]}, {}, "config.history: "),
        ({}, {"note": "another"}, "manifest.annotations: {} / {'note': 'another'}"),
        ({"config": {"Env": ["A=1"]}}, {}, "config.config.Env: None / ['A=1']"),
    ],
)
def test_two_images_with_two_digests_are_never_called_the_same(
    tmp_path: Path, config: dict[str, Any], annotations: dict[str, str], line: str
) -> None:
    whole: dict[str, Any] = {"config": {}, "history": [{"created_by": "one"}]}
    first = layout().Image.read(written(tmp_path / "first.tar", whole, {}))
    second = layout().Image.read(written(tmp_path / "second.tar", whole | config, annotations))
    lines = list(layout().differences(first, second))
    assert lines[0] == f"digest: {first.digest} / {second.digest}"
    assert any(each.startswith(line) for each in lines), lines
    assert list(layout().differences(first, first)) == []


def test_uncommitted_changes_are_not_released(checkout: Checkout) -> None:
    root = checkout("true")
    (root / "note").write_text("changed\n")
    done = release(root, "build")
    assert done.returncode == 78
    assert done.stderr.strip() == ("release: there are uncommitted changes. Commit them: a release is a commit's image")
    assert not (root / "dist").exists()
