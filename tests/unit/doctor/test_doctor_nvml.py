"""The driver, through the real ctypes calls and a stand-in library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from workstation.doctor import nvml
from workstation.doctor.graphics import graphics
from workstation.doctor.nvml import Gpu, Nvml, NvmlError

TWO_GPUS = "0 580.95.05\n0 85520809984 9 0 NVIDIA H100 80GB HBM3\n0 0 12 1 NVIDIA GB10\n"
Says = Callable[[str], None]


def test_the_driver_and_every_gpu_are_named(driver_library: Path, driver_says: Says) -> None:
    driver_says(TWO_GPUS)
    with Nvml(str(driver_library)) as session:
        assert session.driver_version() == "580.95.05"
        assert session.gpus() == (
            (Gpu(0, "NVIDIA H100 80GB HBM3", 85520809984, (9, 0)), Gpu(1, "NVIDIA GB10", None, (12, 1))),
            None,
        )


def test_a_slice_is_not_taken_for_a_gpu_that_shares_the_hosts_memory(driver_library: Path, driver_says: Says) -> None:
    driver_says("0 580.95.05\n0 1 9 0 NVIDIA H100 MIG\n")
    with Nvml(str(driver_library)) as session:
        assert session.gpus() == ((Gpu(0, "NVIDIA H100 MIG", None, (9, 0), is_slice=True),), None)


def test_a_missing_driver_is_an_error_with_its_own_code(tmp_path: Path) -> None:
    with pytest.raises(NvmlError) as caught:
        Nvml(str(tmp_path / "libnvidia-ml.so.1"))
    assert caught.value.code == nvml.LIBRARY_NOT_FOUND


def test_a_driver_that_refuses_says_so_in_its_own_words(driver_library: Path, driver_says: Says) -> None:
    driver_says("999 580.95.05\n")
    with pytest.raises(NvmlError, match="Unknown Error") as caught, Nvml(str(driver_library)):
        pass
    assert caught.value.code == nvml.UNKNOWN


def test_a_gpu_that_fell_off_the_bus_leaves_the_others_and_its_error(
    driver_library: Path, driver_says: Says, tmp_path: Path
) -> None:
    driver_says("0 580.95.05\n15 85520809984 9 0 NVIDIA H100\n0 0 12 1 NVIDIA GB10\n")
    seen = graphics(tmp_path, str(driver_library))
    assert seen.gpus == (Gpu(1, "NVIDIA GB10", None, (12, 1)),)
    assert seen.nvml_error is not None
    assert (seen.nvml_error.code, str(seen.nvml_error)) == (nvml.GPU_IS_LOST, "GPU is lost")


def test_a_refusing_driver_is_a_fact_and_not_a_crash(driver_library: Path, driver_says: Says, tmp_path: Path) -> None:
    driver_says("18 580.95.05\n")
    seen = graphics(tmp_path, str(driver_library))
    assert seen.gpus == ()
    assert seen.nvml_error is not None
    assert seen.nvml_error.code == nvml.VERSION_MISMATCH
