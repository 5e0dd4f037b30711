"""An OCI layout becomes what `docker load` takes; a docker save tar is left alone."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from imagecheck.engine.archive import readable

ATTESTATION = {"digest": "sha256:att", "platform": {"architecture": "unknown", "os": "unknown"}}


def write(path: Path, files: Mapping[str, object]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, document in files.items():
            content = json.dumps(document).encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def oci(path: Path, *entries: object) -> Path:
    manifest = {"config": {"digest": "sha256:cfg"}, "layers": [{"digest": "sha256:l1"}, {"digest": "sha256:l2"}]}
    nested = {"manifests": [{"digest": "sha256:man"}, ATTESTATION]}
    files = {"blobs/sha256/man": manifest, "blobs/sha256/nested": nested, "index.json": {"manifests": list(entries)}}
    return write(path, files)


def manifest_of(path: Path) -> object:
    with readable(path) as stream, tarfile.open(fileobj=stream) as archive:
        file = archive.extractfile("manifest.json")
        assert file is not None
        return json.load(file)


@pytest.mark.parametrize("digest", ["sha256:man", "sha256:nested"])
def test_an_oci_layout_gains_a_manifest(tmp_path: Path, digest: str) -> None:
    (entry,) = manifest_of(oci(tmp_path / "a.tar", {"digest": digest}))  # type: ignore[misc]
    assert entry["Config"] == "blobs/sha256/cfg"
    assert entry["Layers"] == ["blobs/sha256/l1", "blobs/sha256/l2"]


def test_an_index_of_two_images_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="2 images"),
        readable(oci(tmp_path / "a.tar", {"digest": "sha256:man"}, {"digest": "sha256:nested"})),
    ):
        pass


def test_a_docker_save_tar_is_handed_on_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {"manifest.json": [{"Config": "c", "Layers": []}]})
    with readable(path) as stream:
        assert stream.read() == path.read_bytes()
