"""Layers are read as OCI defines them, and what a later layer deletes is still found in the lower one."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping

from imagecheck.engine.contents import Contents, Layer, merge, read_export, read_layer

KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + b"x" * 600


def tar(files: Mapping[str, bytes], mode: int = 0o644) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def layer(files: Mapping[str, bytes], mode: int = 0o644) -> Layer:
    return read_layer("blobs/sha256/abc", io.BytesIO(tar(files, mode)))  # type: ignore[arg-type]


def export(*layers: bytes) -> Contents:
    """As `docker save` streams it, cut into pieces of an awkward size."""
    names = [f"blobs/sha256/{number:064x}" for number in range(len(layers))]
    manifest = json.dumps([{"Config": "blobs/sha256/c", "Layers": names}]).encode()
    whole = tar({name: layers[i] for i, name in enumerate(names)} | {"manifest.json": manifest})
    return read_export(whole[start : start + 777] for start in range(0, len(whole), 777))


def test_an_upper_file_replaces_a_lower_one() -> None:
    assert merge([layer({"etc/a": b"1"}), layer({"./etc/a": b"22"})])["etc/a"].size == 2


def test_a_whiteout_removes_a_file_and_all_below_a_folder() -> None:
    lower = layer({"opt/a/x": b"1", "opt/a/y": b"1", "opt/b": b"1"})
    assert set(merge([lower, layer({"opt/.wh.a": b""})])) == {"opt/b"}


def test_an_opaque_folder_hides_what_lies_below() -> None:
    lower = layer({"opt/a/x": b"1", "opt/b": b"1"})
    assert set(merge([lower, layer({"opt/a/.wh..wh..opq": b"", "opt/a/z": b"1"})])) == {"opt/b", "opt/a/z"}


def test_a_whiteout_does_not_reach_a_longer_name() -> None:
    lower = layer({"opt/ab": b"1", "opt/a": b"1"})
    assert set(merge([lower, layer({"opt/.wh.a": b""})])) == {"opt/ab"}


def test_what_was_deleted_still_weighs() -> None:
    contents = Contents.of([layer({"opt/a": b"12345"}), layer({"opt/.wh.a": b""})])
    assert contents.hidden_bytes == 5


def test_an_export_is_read_layer_by_layer_in_the_manifests_order() -> None:
    contents = export(tar({"root/.ssh/key": KEY}), tar({"root/.ssh/.wh.key": b""}))
    assert "root/.ssh/key" not in contents.visible
    assert contents.layers[0].entries[0].secret.startswith("-----BEGIN")


def test_compressed_layers_are_read_too() -> None:
    contents = export(gzip.compress(tar({"etc/a": bytes(range(256)) * 64}), compresslevel=0))
    assert set(contents.visible) == {"etc/a"}


def test_a_test_key_that_a_package_ships_is_no_secret() -> None:
    shipped = layer({"opt/venv/lib/python3.13/site-packages/tornado/test/test.key": KEY})
    assert not shipped.entries[0].secret
