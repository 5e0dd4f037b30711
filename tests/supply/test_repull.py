"""`scripts/repull` counts what changed and nothing else, wherever the two images are."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard
from project import ROOT, script
from registry import add, digest, layer, oci_image, path_with_tools, running_registry

RELEASED_LEVEL = 9
PACKER = zstandard.ZstdCompressor(level=RELEASED_LEVEL)
# Text that packs better at a higher level, enough of it for two decimals of a megabyte to tell the levels apart.
_some = random.Random(1)
_words = [_some.randbytes(3).hex() for _ in range(300)]
WORDS = " ".join(_some.choice(_words) for _ in range(60_000)).encode()
BASE, TORCH, LAB = layer(base=os.urandom(2000)), layer(torch=os.urandom(30_000)), layer(lab=os.urandom(4000))
NEW_LAB = layer(lab=os.urandom(5000), text=WORDS)
PACKED = len(PACKER.compress(NEW_LAB))
KEPT = f"{'kept':>13}"


@dataclass(frozen=True)
class Pair:
    """The same two images, of which only the last layer differs, at three places."""

    layouts: list[str]
    registry: list[str]
    engine: list[str]
    environment: dict[str, str]

    def compare(self, old: str, new: str) -> list[str]:
        done = script("repull", old, new, environment=self.environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("repull")
    environment = {"PATH": path_with_tools()}
    layouts, references = [], []
    with running_registry(folder, environment["PATH"]) as registry:
        for tag, last in (("old", LAB), ("new", NEW_LAB)):
            layouts.append(str(folder / f"{tag}.tar"))
            references.append(f"{registry.address}/test/repull-{uuid.uuid4().hex[:8]}:{tag}")
            digest = oci_image(Path(layouts[-1]), BASE, TORCH, last)["manifest"]
            command = ["oras", "copy", "--from-oci-layout", f"{layouts[-1]}@{digest}", references[-1]]
            subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)
        images = [pulled(reference) for reference in references]
        try:
            yield Pair(layouts, references, images, environment)
        finally:
            subprocess.run(["docker", "image", "rm", *images], check=True, capture_output=True)


def pulled(reference: str) -> str:
    """Into the engine, under a name of its own: the reference still means the registry's."""
    name = f"torch-workstation-test:{uuid.uuid4().hex[:8]}"
    for command in (["pull", "--quiet", reference], ["tag", reference, name], ["image", "rm", reference]):
        subprocess.run(["docker", *command], check=True, capture_output=True)
    return name


def expected(size: int) -> list[str]:
    return [
        f"{KEPT}  step 1",
        f"{KEPT}  step 2",
        f"{size / 1e6:>10.2f} MB  step 3",
        f"{size / 1e6:.2f} MB in 1 of 3 layers",
    ]


def test_between_two_releases_only_the_changed_layer_is_pulled(pair: Pair) -> None:
    assert pair.compare(*pair.layouts) == expected(len(NEW_LAB))


def test_a_registry_is_read_without_pulling(pair: Pair) -> None:
    assert pair.compare(*pair.registry) == expected(len(NEW_LAB))


def test_a_registrys_port_is_no_tag(pair: Pair) -> None:
    """Without a tag it is `latest`, as for Docker."""
    references = []
    for reference in pair.registry:
        references.append(f"{reference.rpartition(':')[0]}-{reference.rpartition(':')[2]}")
        command = ["oras", "copy", reference, f"{references[-1]}:latest"]
        subprocess.run(command, env=os.environ | pair.environment, check=True, capture_output=True)
    assert pair.compare(*references) == expected(len(NEW_LAB))


def test_a_layer_is_packed_at_the_level_that_is_released() -> None:
    bake = (ROOT / "docker-bake.hcl").read_text()
    assert re.findall(r"compression-level=(\d+)", bake) == [str(RELEASED_LEVEL)]


def test_the_engines_layer_is_weighed_as_a_release_would_pack_it(pair: Pair) -> None:
    assert pair.compare(*pair.engine) == expected(PACKED)


def test_an_image_of_the_engine_is_compared_with_a_release(pair: Pair) -> None:
    assert pair.compare(pair.engine[0], pair.layouts[1]) == expected(len(NEW_LAB))
    assert pair.compare(pair.layouts[0], pair.engine[1]) == expected(PACKED)


@pytest.mark.parametrize("pack", [gzip.compress, PACKER.compress])
def test_a_layer_that_the_engine_keeps_packed_is_weighed_alike(
    pair: Pair, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """As containerd's store does, which a fresh Docker 29 has: the engine is played by a program on PATH."""
    engine_of_packed(tmp_path, [BASE, TORCH, NEW_LAB], pack)
    done = script("repull", pair.layouts[0], "some:1", environment={"PATH": f"{tmp_path}:{pair.environment['PATH']}"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == expected(PACKED)


def engine_of_packed(folder: Path, layers: list[bytes], pack: Callable[[bytes], bytes]) -> None:
    """A `docker` in `folder` that holds one image: its layers' files are named by how they are packed."""
    contents = [digest(each) for each in layers]
    history = [{"created_by": f"step {number}"} for number, _ in enumerate(layers, 1)]
    config = json.dumps({"rootfs": {"diff_ids": contents}, "history": history}).encode()
    blobs = {f"blobs/{digest(blob).replace(':', '/')}": blob for blob in (*map(pack, layers), config)}
    *packed, named = blobs
    with tarfile.open(folder / "saved.tar", "w") as archive:
        for name, blob in sorted(blobs.items()):
            add(archive, name, blob)
        add(archive, "manifest.json", json.dumps([{"Config": named, "Layers": packed}]).encode())
    (folder / "inspected.json").write_text(json.dumps([{"RootFS": {"Layers": contents}}]))
    program = folder / "docker"
    program.write_text(f'#!/bin/sh\ncat {folder}/$([ "$1" = save ] && echo saved.tar || echo inspected.json)\n')
    program.chmod(0o755)


def test_the_same_image_again_costs_nothing(pair: Pair) -> None:
    assert pair.compare(pair.layouts[0], pair.layouts[0])[-1] == "0.00 MB in 0 of 3 layers"


def test_a_layer_below_that_changed_is_pulled_alone(pair: Pair, tmp_path: Path) -> None:
    """Layers are told by content, not by what lies under them: a torch upgrade leaves JupyterLab's where it is."""
    upgraded = layer(torch=os.urandom(40_000))
    oci_image(tmp_path / "new.tar", BASE, upgraded, LAB)
    lines = pair.compare(pair.layouts[0], str(tmp_path / "new.tar"))
    assert [line.startswith(KEPT) for line in lines[:-1]] == [True, False, True]
    assert lines[-1] == f"{len(upgraded) / 1e6:.2f} MB in 1 of 3 layers"


@pytest.mark.parametrize(("name", "code"), [("localhost:1/none:1", 66), ("garbage.tar", 65)])
def test_what_cannot_be_compared_gets_one_line(pair: Pair, tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "garbage.tar").write_bytes(b"garbage")
    new = str(tmp_path / name) if name.endswith(".tar") else name
    done = script("repull", pair.layouts[0], new, environment=pair.environment)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
