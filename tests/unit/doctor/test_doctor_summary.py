"""What the server prints at start, and what its healthcheck learns when a GPU goes away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from workstation.doctor import nvml
from workstation.doctor.machine import Machine
from workstation.doctor.summary import start_summary
from workstation.doctor.units import MIB

TWO_GPUS = "0 580.95.05\n0 85520809984 9 0 NVIDIA H100\n0 85520809984 9 0 NVIDIA H100\n"
ONE_GPU = "0 580.95.05\n0 85520809984 9 0 NVIDIA H100\n"
Says = Callable[[str], None]


def python(code: str, environ: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


LOST = "from workstation import doctor; print(doctor.lost_gpus({expected}))"
COUNT = "from workstation import doctor; print(doctor.visible_gpu_count())"


def test_gpus_that_are_all_there_are_not_lost(environ_with_driver: dict[str, str], driver_says: Says) -> None:
    driver_says(TWO_GPUS)
    assert python(COUNT, environ_with_driver) == "2"
    assert python(LOST.format(expected=2), environ_with_driver) == "None"


def test_a_missing_gpu_is_lost(environ_with_driver: dict[str, str], driver_says: Says) -> None:
    driver_says(ONE_GPU)
    assert "1 of 2 left" in python(LOST.format(expected=2), environ_with_driver)


def test_a_gpu_that_fell_off_the_bus_is_lost(environ_with_driver: dict[str, str], driver_says: Says) -> None:
    driver_says("0 580.95.05\n15 85520809984 9 0 NVIDIA H100\n")
    assert "GPU is lost" in python(LOST.format(expected=1), environ_with_driver)


def test_a_gpu_that_was_lost_before_the_start_is_not_missed(
    environ_with_driver: dict[str, str], driver_says: Says
) -> None:
    """Restarting the container would not bring it back, and the other one computes."""
    driver_says(TWO_GPUS + "15 85520809984 9 0 NVIDIA H100\n")
    assert python(COUNT, environ_with_driver) == "2"
    assert python(LOST.format(expected=2), environ_with_driver) == "None"


def test_a_driver_that_stopped_answering_has_lost_them_and_the_remedy_is_said(
    environ_with_driver: dict[str, str], driver_says: Says
) -> None:
    driver_says("999 580.95.05\n")
    assert python(COUNT, environ_with_driver) == "0"
    said = python(LOST.format(expected=1), environ_with_driver)
    assert "restart this container" in said
    assert "nvidia-container-toolkit#48" in said


def test_without_a_driver_there_is_nothing_to_count(environ: dict[str, str]) -> None:
    assert python(COUNT, environ) == "0"
    assert python(LOST.format(expected=0), environ) == "None"
    assert "GPU lost" in python(LOST.format(expected=1), environ)


def test_the_summary_names_the_software_and_every_subject_in_one_line_each(healthy: Machine) -> None:
    lines = start_summary(healthy).splitlines()
    assert lines[0].endswith("torch 2.14.1, CUDA 13.0, cuDNN 9.24.0.43, torchvision 0.29.2, torchaudio 2.11.0")
    assert [line.split("  ")[0] for line in lines] == [
        "software",
        "gpu",
        "driver",
        "memory",
        "cpus",
        "shared memory",
        "home",
    ]


def test_each_problem_is_followed_by_its_remedy(healthy: Machine) -> None:
    lines = start_summary(replace(healthy, shm_bytes=64 * MIB)).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("shared memory"))
    assert "WARN: 64 MiB" in lines[at]
    assert "→ docker run --shm-size" in lines[at + 1]


def test_a_silent_subject_speaks_up_when_something_is_wrong_with_it(healthy: Machine) -> None:
    blocked = replace(healthy.places, inductor_cache=replace(healthy.places.inductor_cache, executable=False))
    assert "inductor cache" not in start_summary(healthy)
    assert "noexec" in start_summary(replace(healthy, places=blocked))


def test_a_gpu_that_is_on_the_host_gets_the_command_that_gives_it(healthy: Machine) -> None:
    unseen = replace(
        healthy.graphics, gpus=(), driver=None, nvml_error=nvml.NvmlError(nvml.LIBRARY_NOT_FOUND, "no such file")
    )
    said = start_summary(replace(healthy, graphics=unseen))
    assert "docker run --gpus all" in said
    assert "docker compose -f docker-compose.yml -f compose/gpu.yml up" in said


def test_a_summary_imports_neither_torch_nor_rich(environ: dict[str, str], tmp_path: Path) -> None:
    """The stand-in raises when it is imported; its version is read all the same."""
    torch = tmp_path / "torch"
    torch.mkdir()
    (torch / "__init__.py").write_text("raise RuntimeError('imported')")
    (torch / "version.py").write_text("__version__ = '2.14.1+cu130'\ncuda: Optional[str] = '13.0'\n")
    (tmp_path / "nvidia_cudnn_cu13-9.24.0.43.dist-info").mkdir()
    environ["PYTHONPATH"] += f":{tmp_path}"
    said = python(
        "import sys; from workstation import doctor; print(doctor.start_summary()); print('rich' in sys.modules)",
        environ,
    )
    assert said.startswith("software             torch 2.14.1+cu130, CUDA 13.0, cuDNN 9.24.0.43")
    assert said.endswith("False")


def test_the_package_is_imported_without_its_modules(environ: dict[str, str]) -> None:
    code = "import sys, workstation.doctor; print(sum('workstation.doctor.' in name for name in sys.modules))"
    assert python(code, environ) == "0"
