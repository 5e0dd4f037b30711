"""scripts/configure: which Compose files go with the GPUs, their driver and Docker's runtimes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

Load = Callable[[str], ModuleType]
Program = Callable[[str, str], Path]


LINUX, WSL2, NONE = "proc/driver/nvidia/version", "usr/lib/wsl/lib/libcuda.so.1", ""


@dataclass(frozen=True)
class Graphics:
    driver: str
    runtime: bool
    cdi: bool


@pytest.mark.parametrize(
    ("graphics", "over", "says"),
    [
        (Graphics(driver=LINUX, runtime=True, cdi=False), ":compose/gpu.yml", "runtime"),
        (Graphics(driver=WSL2, runtime=True, cdi=False), ":compose/gpu.yml", "runtime"),
        (Graphics(driver=LINUX, runtime=True, cdi=True), ":compose/gpu.yml", "runtime"),
        (Graphics(driver=LINUX, runtime=False, cdi=True), ":compose/gpu-cdi.yml", "CDI"),
        (Graphics(driver=LINUX, runtime=False, cdi=False), "", "nvidia-container-toolkit"),
        (Graphics(driver=NONE, runtime=True, cdi=True), "", "no NVIDIA driver"),
        (Graphics(driver=NONE, runtime=False, cdi=False), "", "no NVIDIA driver"),
    ],
)
def test_the_compose_files_follow_what_the_machine_can_do(
    tmp_path: Path, load: Load, graphics: Graphics, over: str, says: str
) -> None:
    descriptions = tmp_path / "cdi"
    descriptions.mkdir()  # Docker names the folder whether or not a description is in it
    if graphics.cdi:
        (descriptions / "nvidia.yaml").touch()
    if graphics.driver:
        lay(tmp_path / graphics.driver)
    runtimes: dict[str, object] = {"runc": {}, "nvidia": {}} if graphics.runtime else {"runc": {}}
    choice = load("configure").compose_file({"Runtimes": runtimes, "CDISpecDirs": [str(descriptions)]}, tmp_path)
    assert choice.value == f"docker-compose.yml{over}"
    assert says in choice.why


def test_nvidias_hook_alone_is_a_runtime_too(tmp_path: Path, load: Load, program: Program) -> None:
    """Docker itself looks for that program; with it, no runtime needs to be registered."""
    program("nvidia-container-runtime-hook", "")
    lay(tmp_path / LINUX)
    assert load("configure").compose_file({}, tmp_path).value.endswith("compose/gpu.yml")


def lay(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.touch()
