"""Every check is content with a healthy machine, and says what is wrong and what to do on each that is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from altered import no_gpu, place, says, torch, unseen

from workstation.doctor.checks import compiling, resources, software
from workstation.doctor.child import ChildError
from workstation.doctor.container import Engine
from workstation.doctor.examination import GPU_CHECKS, SECTIONS, Check, examine, worst
from workstation.doctor.finding import Status
from workstation.doctor.host import Cpus, Interpreter, Memory
from workstation.doctor.machine import Machine
from workstation.doctor.torch_facts import Companion
from workstation.doctor.units import GIB, MIB

ALL = [check for checks in SECTIONS.values() for check in checks]


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.__name__)
def test_a_healthy_machine_is_ok(healthy: Machine, check: Check) -> None:
    says(check(healthy), Status.OK)


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.__name__)
def test_a_machine_without_a_gpu_is_ok(healthy: Machine, check: Check) -> None:
    says(check(no_gpu(healthy)), Status.OK)


# Software


def test_another_python_on_path_is_named(healthy: Machine) -> None:
    other = replace(healthy, interpreter=Interpreter("3.13.5", Path("/opt/venv/bin/python"), Path("/usr/bin/python")))
    says(software.python(other), Status.WARN, "/usr/bin/python", "export PATH=/opt/venv/bin:$PATH")


def test_a_torch_that_does_not_import_fails_with_its_own_last_words(healthy: Machine) -> None:
    broken = replace(healthy, torch=ChildError("ImportError: libcudart.so.13: cannot open shared object file"))
    says(software.torch(broken), Status.FAIL, "libcudart.so.13", "pytorch.org")


def test_a_torch_that_lacks_a_temporary_directory_is_not_reinstalled(healthy: Machine) -> None:
    broken = replace(healthy, torch=ChildError("FileNotFoundError: No usable temporary directory found"))
    for full_or_closed in ({"free_bytes": 0}, {"writable": False}):
        says(software.torch(place(broken, "temporary", **full_or_closed)), Status.FAIL, "writable temporary directory")


def test_a_companion_that_does_not_import_fails(healthy: Machine) -> None:
    broken = torch(healthy, torchaudio=Companion(error="compiled with different CUDA versions"))
    says(software.torch(broken), Status.FAIL, "torchaudio does not import: compiled with different CUDA versions")


def test_a_companion_for_another_cuda_fails(healthy: Machine) -> None:
    says(
        software.torch(torch(healthy, torchvision=Companion("0.29.2", "12.6"))),
        Status.FAIL,
        "torchvision is built for CUDA 12.6, torch for 13.0",
    )


def test_a_companion_for_a_later_minor_version_is_shown_as_compatible(healthy: Machine) -> None:
    says(
        software.torch(torch(healthy, torchvision=Companion("0.29.2", "13.2"))),
        Status.OK,
        "torchvision is built for CUDA 13.2, torch for 13.0: compatible",
    )


def test_a_missing_companion_is_a_warning(healthy: Machine) -> None:
    says(software.torch(torch(healthy, torchvision=Companion())), Status.WARN, "no torchvision")


# The machine


def test_docker_s_default_shared_memory_is_a_warning(healthy: Machine) -> None:
    small = replace(healthy, shm_bytes=64 * MIB)
    says(resources.shared_memory(small), Status.WARN, "64 MiB", "--shm-size")
    says(resources.shared_memory(replace(small, engine=Engine.KUBERNETES)), Status.WARN, "64 MiB", "emptyDir")


@pytest.mark.parametrize(("memory", "status"), [(3 * GIB, Status.WARN), (1 * GIB, Status.FAIL)])
def test_too_little_memory_is_noticed(healthy: Machine, memory: int, status: Status) -> None:
    says(resources.memory(replace(healthy, memory=Memory(memory, limited=True))), status, "--memory")
    says(resources.memory(replace(healthy, memory=Memory(memory, limited=False))), status, "larger machine")


@pytest.mark.parametrize("threads", [None, "64", "many", "4,1"])
def test_more_threads_than_the_quota_allows_is_a_warning(healthy: Machine, threads: str | None) -> None:
    throttled = replace(healthy, cpus=Cpus(usable=2, quota=1.5, threads=threads))
    says(resources.cpus(throttled), Status.WARN, "quota 1.5", "OMP_NUM_THREADS=2")


def test_threads_that_fit_the_quota_are_fine(healthy: Machine) -> None:
    says(resources.cpus(replace(healthy, cpus=Cpus(usable=2, quota=1.5, threads="2"))), Status.OK, "2 threads")


@pytest.mark.parametrize(("check", "name"), [(resources.home, "home"), (resources.temporary_directory, "temporary")])
def test_a_directory_that_is_full_or_closed_is_noticed(healthy: Machine, check: Check, name: str) -> None:
    says(check(place(healthy, name, writable=False)), Status.FAIL, "cannot be written", "docker run")
    says(check(place(healthy, name, free_bytes=100 * MIB)), Status.FAIL, "100 MiB free", "docker system")
    says(check(place(healthy, name, free_bytes=2 * GIB)), Status.WARN, "2.0 GiB free")


# torch.compile


@pytest.mark.parametrize(
    ("check", "name", "variable"),
    [
        (compiling.inductor_cache, "inductor_cache", "TORCHINDUCTOR_CACHE_DIR"),
        (compiling.triton_cache, "triton_cache", "TRITON_CACHE_DIR"),
    ],
)
def test_a_cache_that_cannot_be_written_or_run_from_fails(
    healthy: Machine, check: Check, name: str, variable: str
) -> None:
    says(check(place(healthy, name, writable=False, executable=False)), Status.FAIL, "written", variable)
    says(check(place(healthy, name, executable=False)), Status.FAIL, "noexec", ":exec", variable)
    says(check(place(healthy, name, free_bytes=0, executable=False)), Status.FAIL, "no room left", "docker system")


def test_a_working_directory_that_cannot_be_entered_or_is_gone_fails(healthy: Machine) -> None:
    says(compiling.working_directory(replace(healthy, working_directory_open=False)), Status.FAIL, "--workdir")
    says(compiling.working_directory(replace(healthy, working_directory=None)), Status.FAIL, "deleted")


@pytest.mark.parametrize(
    ("check", "field", "package"),
    [(compiling.c_compiler, "c_compiler", "python3-dev"), (compiling.cxx_compiler, "cxx_compiler", "g++")],
)
def test_a_compiler_that_does_not_compile_fails_with_its_first_complaint(
    healthy: Machine, check: Check, field: str, package: str
) -> None:
    broken = replace(healthy, **{field: replace(getattr(healthy, field), error="fatal error: Python.h: No such file")})
    says(check(broken), Status.FAIL, "Python.h", "apt-get install", package)
    for full_or_closed in ({"free_bytes": 0}, {"writable": False}):
        says(check(place(broken, "temporary", **full_or_closed)), Status.FAIL, "see temporary directory")


# All together


def test_every_gpu_check_fails_where_a_gpu_is_required_and_none_is_there(healthy: Machine) -> None:
    rows = examine(no_gpu(healthy), require_gpu=True)
    failed = {row.check for row in rows if row.finding.status is Status.FAIL}
    assert failed == {check.__name__ for check in GPU_CHECKS}
    for row in rows:
        if row.check in failed:
            says(row.finding, Status.FAIL, "machine with an NVIDIA GPU", "under WSL2: docker run --gpus all")


@pytest.mark.parametrize("value", ["", "-1"])
def test_a_hidden_gpu_does_not_satisfy_the_requirement(healthy: Machine, value: str) -> None:
    assert worst(examine(replace(healthy, cuda_visible_devices=value), require_gpu=True)) is Status.FAIL


def test_a_required_gpu_that_was_not_handed_over_keeps_the_mending_command(healthy: Machine) -> None:
    row = next(row for row in examine(unseen(healthy), require_gpu=True) if row.check == "gpu")
    says(row.finding, Status.FAIL, "docker run --gpus all")


def test_a_usable_gpu_satisfies_the_requirement(healthy: Machine) -> None:
    assert worst(examine(healthy, require_gpu=True)) is Status.OK


def test_the_worst_finding_is_the_verdict(healthy: Machine) -> None:
    assert worst(examine(replace(healthy, shm_bytes=MIB))) is Status.WARN
    assert worst(examine(place(replace(healthy, shm_bytes=MIB), "home", writable=False))) is Status.FAIL
