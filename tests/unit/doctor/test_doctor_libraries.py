"""Which file answers to a CUDA soname: on disk, in a process, and for a program that is not torch."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from workstation.doctor import plain_program
from workstation.doctor.child import ask
from workstation.doctor.libraries import copies, on_disk
from workstation.doctor.plain_program import Found, PlainProgram

Plant = Callable[[Mapping[str, str]], Path]


def test_only_cuda_s_libraries_are_counted_and_their_versions_do_not_tell_them_apart() -> None:
    assert copies(
        (
            "/wheels/libcudart.so.13",
            "/system/libcudart.so.13.0.96",
            "/wheels/libcudnn_ops.so.9",
            "/wheels/libcudart.so.13",
            "/usr/lib/libc.so.6",
            "/usr/lib/libcudart_static.a",
            "/usr/lib/libcuda.so.1",
        )
    ) == {
        "libcudart.so.13": ("/system/libcudart.so.13.0.96", "/wheels/libcudart.so.13"),
        "libcudnn_ops.so.9": ("/wheels/libcudnn_ops.so.9",),
    }


def test_two_copies_on_the_search_path_are_found(plant: Plant) -> None:
    root = plant({"a/libcudart.so.13.0.96": "", "b/libcudart.so.13": ""})
    (root / "a/libcudart.so.13").symlink_to("libcudart.so.13.0.96")
    found = on_disk({"LD_LIBRARY_PATH": f"{root}/a:{root}/b:"})
    assert {f"{root}/a/libcudart.so.13.0.96", f"{root}/b/libcudart.so.13"} <= set(found["libcudart.so.13"])


def test_a_link_and_its_target_are_one_file(plant: Plant) -> None:
    root = plant({"a/libcudart.so.99.0.96": ""})
    (root / "a/libcudart.so.99").symlink_to("libcudart.so.99.0.96")
    assert on_disk({"LD_LIBRARY_PATH": f"{root}/a"})["libcudart.so.99"] == (f"{root}/a/libcudart.so.99.0.96",)


def test_a_plain_program_gets_what_the_loader_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "libcudnn.so.9", "unsigned long cudnnGetVersion(void) { return 92400; }")
    build(tmp_path / "libnccl.so.2", "int ncclGetVersion(int *v) { *v = 23007; return 0; }")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    found = PlainProgram.from_json(ask(Path(plain_program.__file__)))
    assert found == PlainProgram(
        cudnn=Found(str(tmp_path / "libcudnn.so.9"), "9.24.0"), nccl=Found(str(tmp_path / "libnccl.so.2"), "2.30.7")
    )


def test_a_linked_library_is_named_by_its_real_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "libcudnn.so.9.24.0", "unsigned long cudnnGetVersion(void) { return 92400; }")
    (tmp_path / "libcudnn.so.9").symlink_to("libcudnn.so.9.24.0")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    found = PlainProgram.from_json(ask(Path(plain_program.__file__)))
    assert found.cudnn == Found(str(tmp_path / "libcudnn.so.9.24.0"), "9.24.0")


def build(library: Path, source: str) -> None:
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=source, text=True, check=True)
