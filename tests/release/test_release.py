"""`make release` and `make reproduce` on an image of three lines: the same scripts and engine, seconds for minutes."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = """
ARG BASE_IMAGE
FROM ${{BASE_IMAGE}} AS workstation
ARG SOURCE_DATE_EPOCH
COPY note /note
RUN {command}
FROM workstation AS devel
"""
Checkout = Callable[[str], Path]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A repository with a committed Dockerfile of one RUN line, and this one's release scripts."""

    def make(command: str) -> Path:
        root = tmp_path / "checkout"
        shutil.copytree(ROOT / "scripts" / "release", root / "scripts" / "release")
        shutil.copy(ROOT / "docker-bake.hcl", root)
        base = re.search(r"^BASE_IMAGE=(.+)$", (ROOT / ".env").read_text(), re.MULTILINE)
        assert base is not None
        (root / ".env").write_text(f"BASE_IMAGE={base[1]}\n")
        (root / ".gitignore").write_text(".env\ndist/\n__pycache__/\n")
        (root / "Dockerfile").write_text(DOCKERFILE.format(command=command))
        (root / "note").write_text("committed\n")
        for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "as it is"]):
            identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
            subprocess.run(["git", "-C", root, *identity, *arguments], check=True)
        return root

    return make


def release(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, root / "scripts" / "release", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_a_build_whose_steps_leave_nothing_of_their_own_time_is_the_same_twice(checkout: Checkout) -> None:
    done = release(checkout("mkdir /made && cp /note /made/note"), "reproduce", "workstation")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^workstation: sha256:[0-9a-f]{64} twice$", done.stdout, re.MULTILINE)


def test_the_engine_that_was_there_keeps_its_network(checkout: Checkout, image: str) -> None:
    assert release(checkout("true"), "build", "workstation").returncode == 0
    after = subprocess.run(["docker", "run", "--rm", image, "true"], capture_output=True, text=True)
    assert after.returncode == 0, after.stderr


def test_a_build_that_is_not_the_same_twice_names_the_layer_and_the_file(checkout: Checkout) -> None:
    done = release(checkout("head -c 8 /dev/urandom >/made-at-random"), "reproduce", "workstation")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^layer \d+, RUN .*urandom", done.stdout, re.MULTILINE)
    assert re.search(r"^    made-at-random: type 0 .* / type 0 ", done.stdout, re.MULTILINE)
    assert "note:" not in done.stdout


def test_a_release_is_the_commit_and_dated_by_it(checkout: Checkout) -> None:
    root = checkout("cp /note /copied")
    (root / "untracked").touch()
    done = release(root, "build", "workstation")
    assert done.returncode == 0, done.stderr
    date = int(subprocess.run(["git", "-C", root, "log", "-1", "--format=%ct"], capture_output=True, text=True).stdout)
    with tarfile.open(root / "dist" / "workstation.tar") as archive:
        index = archive.extractfile("index.json")
        assert index is not None
        manifest = json.load(index)["manifests"][0]
    assert manifest["digest"] in done.stdout
    image = layout().Image.read(root / "dist" / "workstation.tar")
    assert {layer["mediaType"] for layer in image.layers} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    (copied,) = image.files(image.layers[-1]).values()
    assert f"time {date} " in copied


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


def test_uncommitted_changes_are_not_released(checkout: Checkout) -> None:
    root = checkout("true")
    (root / "note").write_text("changed\n")
    done = release(root, "build")
    assert done.returncode == 78
    assert done.stderr.strip() == ("release: there are uncommitted changes. Commit them: a release is a commit's image")
    assert not (root / "dist").exists()
