"""Layers are read as OCI defines them, and what a later layer deletes is still found in the lower one."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping

import pytest
import zstandard
from recorded import RecordedBench

from imagecheck.checks.contents import no_setuid, size
from imagecheck.engine.contents import Contents, Layer, merge, read_export, read_layer
from imagecheck.outcome import Outcome
from imagecheck.settings import Settings

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
    return read_layer("blobs/sha256/abc", io.BytesIO(tar(files, mode)))


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


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


@pytest.mark.parametrize("packed", [gzip.compress, zstd])
def test_a_packed_layer_is_read_too(packed: Callable[[bytes], bytes]) -> None:
    """As containerd's store exports it: what WORKDIR leaves is a layer of 32 bytes then."""
    contents = export(packed(tar({})), packed(tar({"etc/a": bytes(range(256)) * 64, "root/key": KEY})))
    assert [len(each.entries) for each in contents.layers] == [0, 2]
    assert contents.visible["root/key"].secret


@pytest.mark.parametrize("packed", [gzip.compress, zstd])
def test_a_layer_packed_in_several_pieces_is_read_to_its_end(packed: Callable[[bytes], bytes]) -> None:
    """eStargz packs each file by itself: a secret in a later piece was not seen."""
    whole = tar({"etc/a": b"1", "root/key": KEY})
    pieces = b"".join(packed(whole[start : start + 1024]) for start in range(0, len(whole), 1024))
    assert export(pieces).visible["root/key"].secret


def test_a_layer_whose_first_file_begins_with_a_brace_is_no_document() -> None:
    assert set(export(tar({"{{cookiecutter.name}}/key": KEY})).visible) == {"{{cookiecutter.name}}/key"}


@pytest.mark.parametrize("packed", [gzip.compress, zstd])
def test_a_damaged_layer_is_told_in_one_line(packed: Callable[[bytes], bytes]) -> None:
    content = bytearray(packed(tar({"etc/a": os.urandom(4000)})))
    content[len(content) // 2 :] = b"?" * (len(content) // 2)
    with pytest.raises(ValueError, match="is damaged"):
        export(bytes(content))


def test_a_test_key_that_a_package_ships_is_no_secret() -> None:
    shipped = layer({"opt/venv/lib/python3.13/site-packages/tornado/test/test.key": KEY})
    assert not shipped.entries[0].secret


def test_an_image_weighs_what_it_unpacks_to_whatever_the_engine_counts() -> None:
    """Of packed layers, in containerd's store: the recorded image's 5 GiB are such a number."""
    bench = RecordedBench({}, settings=Settings(max_size=1000), contents=Contents.of([layer({"a": b"1" * 1000})]))
    assert size(bench).outcome is Outcome.PASS
    bench = RecordedBench({}, settings=Settings(max_size=999), contents=bench.contents)
    assert size(bench).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("usr/sbin/pam_extrausers_chkpwd", Outcome.PASS),  # of Ubuntu's libpam-modules-bin
        ("usr/sbin/unix_chkpwd", Outcome.PASS),
        ("usr/local/bin/chkpwd", Outcome.FAIL),
    ],
)
def test_only_what_a_distribution_ships_may_be_set_gid(program: str, outcome: Outcome) -> None:
    bench = RecordedBench({}, contents=Contents.of([layer({program: b"1"}, mode=0o2755)]))
    assert no_setuid(bench).outcome is outcome
