from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from workstation.doctor.compilers import Compiler
from workstation.doctor.container import Engine
from workstation.doctor.graphics import Graphics
from workstation.doctor.host import Cpus, Interpreter, Memory
from workstation.doctor.installed import Installed
from workstation.doctor.machine import Machine
from workstation.doctor.nvml import Gpu
from workstation.doctor.place import Place, Places
from workstation.doctor.plain_program import Found, PlainProgram
from workstation.doctor.torch_facts import Companion, Device, TorchFacts
from workstation.doctor.units import GIB

WHEELS = "/opt/venv/lib/python3.13/site-packages/nvidia"
CUDNN = f"{WHEELS}/cudnn/lib/libcudnn.so.9"
NCCL = f"{WHEELS}/nccl/lib/libnccl.so.2"


def _place(path: str) -> Place:
    return Place(Path(path), 50 * GIB, writable=True, executable=True)


@pytest.fixture
def healthy() -> Machine:
    """A GPU workstation in a container on which every check is content."""
    return Machine(
        interpreter=Interpreter("3.13.5", Path("/opt/venv/bin/python"), Path("/opt/venv/bin/python")),
        installed=Installed("2.14.1", "0.29.2", "2.11.0", "13.0", "9.24.0.43", "2.30.7", "3.8.0"),
        graphics=Graphics(
            gpus=(Gpu(0, "NVIDIA H100 80GB HBM3", 80 * GIB, (9, 0)),),
            driver="580.95.05",
            nvml_error=None,
            kernel_driver="580.95.05",
            on_host=("0000:04:00.0",),
        ),
        engine=Engine.DOCKER,
        cuda_visible_devices=None,
        nvidia_visible_devices="all",
        nvidia_driver_capabilities="compute,utility",
        shm_bytes=2 * GIB,
        memory=Memory(32 * GIB, limited=False),
        cpus=Cpus(usable=8, quota=None, threads=None),
        places=Places(
            home=_place("/home/workstation"),
            temporary=_place("/tmp"),
            inductor_cache=_place("/cache/inductor"),
            triton_cache=_place("/cache/triton"),
        ),
        working_directory=Path("/home/workstation"),
        working_directory_open=True,
        torch=TorchFacts(
            version="2.14.1+cu130",
            cuda="13.0",
            cudnn="9.24.0",
            cudnn_error=None,
            nccl="2.30.7",
            architectures=("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"),
            threads=8,
            torchvision=Companion("0.29.2", "13.0"),
            torchaudio=Companion("2.11.0", "13.0"),
            cuda_error=None,
            devices=(Device("NVIDIA H100 80GB HBM3", (9, 0), fault=None),),
            mapped=("/usr/lib/libc.so.6", CUDNN, NCCL),
        ),
        plain_program=PlainProgram(Found(CUDNN, "9.24.0"), Found(NCCL, "2.30.7")),
        libraries={"libcudnn.so.9": (CUDNN,), "libnccl.so.2": (NCCL,)},
        c_compiler=Compiler("gcc", "/usr/bin/gcc", None),
        cxx_compiler=Compiler("g++", "/usr/bin/g++", None),
    )


@pytest.fixture
def plant(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Make a file tree to look at in place of /: path -> text."""

    def make(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    return make


@pytest.fixture(scope="session")
def driver_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A libnvidia-ml.so.1 that stands in for the driver; what talks to it is the real thing."""
    library = tmp_path_factory.mktemp("driver") / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("stub_driver.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Werror", source, "-o", library], check=True)
    return library


@pytest.fixture
def driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set what the stand-in driver answers from now on."""
    answer = tmp_path / "driver.txt"
    monkeypatch.setenv("STUB_DRIVER", str(answer))

    def say(text: str) -> None:
        answer.write_text(text)

    return say


@pytest.fixture
def environ() -> dict[str, str]:
    """An environment in which another Python finds this source."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}


@pytest.fixture
def environ_with_driver(
    environ: dict[str, str], driver_library: Path, driver_says: Callable[[str], None]
) -> dict[str, str]:
    """One in which a program finds the stand-in driver as it would find the real one."""
    driver_says("0 580.95.05\n")
    return {**environ, "LD_LIBRARY_PATH": str(driver_library.parent), "STUB_DRIVER": os.environ["STUB_DRIVER"]}
