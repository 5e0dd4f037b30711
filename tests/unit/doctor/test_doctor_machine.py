"""The gatherers look at what is really there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from workstation.doctor.child import ChildError
from workstation.doctor.compilers import c_compiler, cxx_compiler
from workstation.doctor.host import inspect_host
from workstation.doctor.installed import installed
from workstation.doctor.machine import Machine, inspect
from workstation.doctor.place import look, places
from workstation.doctor.torch_facts import TorchFacts

ABSENT = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
Plant = Callable[[Mapping[str, str]], Path]


def test_the_compilers_of_this_machine_compile() -> None:
    assert c_compiler().error is None
    assert cxx_compiler().error is None


def test_a_compiler_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    assert c_compiler({"PATH": str(tmp_path)}).error == "not found"


def test_a_compiler_without_headers_is_caught_by_its_first_error(plant: Plant) -> None:
    """The official image's fault: gcc is there, Python.h is not (pytorch#170456)."""
    compiler = plant({"gcc": '#!/bin/sh\nexec /usr/bin/env -i PATH="$GCC_PATH" gcc -nostdinc "$@"\n'}) / "gcc"
    compiler.chmod(0o755)
    environ = {"PATH": f"{compiler.parent}:{os.environ['PATH']}", "GCC_PATH": os.environ["PATH"]}
    tried = c_compiler(environ)
    assert tried.path == str(compiler)
    assert tried.error is not None
    assert "error" in tried.error
    assert "\n" not in tried.error


def test_a_directory_of_one_s_own_is_writable_and_executable_and_left_as_it_was(tmp_path: Path) -> None:
    seen = look(tmp_path)
    assert (seen.writable, seen.executable) == (True, True)
    assert seen.free_bytes > 0
    assert not list(tmp_path.iterdir())


def test_a_directory_that_does_not_exist_yet_is_judged_by_where_it_would_be_made(tmp_path: Path) -> None:
    seen = look(tmp_path / "a" / "b")
    assert seen.path == tmp_path / "a" / "b"
    assert seen.writable
    assert not (tmp_path / "a").exists()


def test_a_directory_that_takes_no_files_is_not_writable() -> None:
    assert not look(Path("/proc")).writable  # not even by root


def test_a_name_that_cannot_even_be_looked_up_is_judged_by_where_it_would_be_made(tmp_path: Path) -> None:
    """As for a cache below a folder of mode 0700 of another user: asking for it is an error of its own."""
    seen = look(tmp_path / ("n" * 300) / "inductor")
    assert seen.writable


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ("noexec", "writable=True, executable=False"),
        ("nr_inodes=1", "free_bytes=0, writable=True, executable=False"),  # bytes enough, and no file can be made
    ],
)
def test_a_file_system_that_is_mounted_noexec_or_full_is_writable_all_the_same(
    tmp_path: Path, environ: dict[str, str], options: str, verdict: str
) -> None:
    code = f"from pathlib import Path; from workstation.doctor.place import look; print(look(Path({str(tmp_path)!r})))"
    mount = f'mount -t tmpfs -o {options} none {tmp_path} && exec {sys.executable} -c "$CODE"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount]
    done = subprocess.run(command, env=environ | {"CODE": code}, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip(f"this system makes no user namespaces: {done.stderr.strip()}")
    assert verdict in done.stdout


def test_caches_are_where_torch_would_put_them() -> None:
    chosen = places({"TORCHINDUCTOR_CACHE_DIR": "/cache/inductor", "TRITON_CACHE_DIR": "/cache/triton"})
    assert chosen.inductor_cache.path == Path("/cache/inductor")
    assert chosen.triton_cache.path == Path("/cache/triton")
    assert places({}).inductor_cache.path.name.startswith("torchinductor_")
    assert places({}).triton_cache.path == places({}).inductor_cache.path / "triton"


def test_versions_are_read_from_files_alone(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    site = plant(
        {
            "torch/__init__.py": "raise RuntimeError('imported')",
            "torch/version.py": "__version__ = '2.14.1+cu130'\ncuda: Optional[str] = '13.0'\n",
            "torchvision/__init__.py": "raise RuntimeError('imported')",
            "torchvision/version.py": "__version__ = '0.29.2'\n",
            "nvidia_cudnn_cu13-9.24.0.43.dist-info/METADATA": "",
            "nvidia_nccl_cu13-2.30.7.dist-info/METADATA": "",
        }
    )
    monkeypatch.syspath_prepend(str(site))
    found = installed()
    assert (found.torch, found.cuda, found.torchvision) == ("2.14.1+cu130", "13.0", "0.29.2")
    assert (found.cudnn, found.nccl) == ("9.24.0.43", "2.30.7")


def test_a_cpu_build_names_no_cuda(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    site = plant({"torch/__init__.py": "", "torch/version.py": "__version__ = '2.14.1'\ncuda: Optional[str] = None\n"})
    monkeypatch.syspath_prepend(str(site))
    assert installed().cuda is None


def test_the_container_s_limits_and_variables_are_the_ones_reported(plant: Plant) -> None:
    root = plant(
        {
            ".dockerenv": "",
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
            "proc/meminfo": "MemTotal: 33554432 kB\n",
            "sys/fs/cgroup/memory.max": "4294967296\n",
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
        }
    )
    host = inspect_host(root, {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2", "PATH": ""})
    assert (host.memory.usable_bytes, host.memory.limited) == (4 * 1024**3, True)
    assert (host.cpus.quota, host.cpus.threads) == (1.5, "2")
    assert host.cuda_visible_devices == ""
    assert host.shm_bytes == 0  # this tree has no /dev/shm


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (ABSENT, "No module named 'torch'"),
        ("raise ImportError('libcudnn.so.9 is missing')", "libcudnn.so.9 is missing"),
        ("import os; os.abort()", "SIGABRT"),
    ],
)
def test_a_broken_torch_does_not_take_the_doctor_with_it(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(plant({"torch/__init__.py": code})))
    machine = inspect()
    assert isinstance(machine.torch, ChildError)
    assert words in str(machine.torch)


def test_facts_survive_the_way_from_one_process_to_another(healthy: Machine) -> None:
    assert isinstance(healthy.torch, TorchFacts)
    assert TorchFacts.from_json(json.loads(json.dumps(asdict(healthy.torch)))) == healthy.torch


def test_a_deleted_working_directory_is_a_fact_and_not_a_crash(tmp_path: Path, environ: dict[str, str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = """
import os
os.rmdir(os.getcwd())
from workstation.doctor.host import inspect_host
print(inspect_host().working_directory)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=gone, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None"
