"""A GPU on the host is noticed inside a container that was not given it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from workstation.doctor.container import Engine, engine
from workstation.doctor.graphics import kernel_driver, pci_gpus

Plant = Callable[[Mapping[str, str]], Path]
PCI = "sys/bus/pci/devices"


def device(address: str, vendor: str, kind: str) -> dict[str, str]:
    return {f"{PCI}/{address}/vendor": f"{vendor}\n", f"{PCI}/{address}/class": f"{kind}\n"}


def test_only_nvidia_display_controllers_are_gpus(plant: Plant) -> None:
    root = plant(
        device("0000:00:02.0", "0x8086", "0x030000")  # Intel graphics
        | device("0000:04:00.0", "0x10de", "0x030200")  # an NVIDIA 3D controller
        | device("0000:01:00.0", "0x10de", "0x030000")  # an NVIDIA VGA controller
        | device("0000:01:00.1", "0x10de", "0x040300")  # that card's sound device
        | {f"{PCI}/0000:05:00.0/vendor": "0x10de\n"}  # vanished while it was read
    )
    assert pci_gpus(root) == ("0000:01:00.0", "0000:04:00.0")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.133.20  Sun Mar 30 06:01:02 UTC 2025\n", "570.133.20"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs@x)\n", "580.95.05"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  590.44\nGCC version:  gcc version 13.3.0\n", "590.44"),
    ],
)
def test_the_kernel_modules_version_is_read_in_every_spelling(plant: Plant, text: str, version: str) -> None:
    assert kernel_driver(plant({"proc/driver/nvidia/version": text})) == version


def test_a_machine_without_nvidia_has_neither(tmp_path: Path) -> None:
    assert kernel_driver(tmp_path) is None
    assert pci_gpus(tmp_path) == ()


@pytest.mark.parametrize(
    ("mark", "environ", "expected"),
    [
        (".dockerenv", {}, Engine.DOCKER),
        ("run/.containerenv", {}, Engine.PODMAN),
        (".dockerenv", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, Engine.KUBERNETES),
        ("etc/hostname", {"APPTAINER_CONTAINER": "/image.sif"}, Engine.APPTAINER),
        ("etc/hostname", {}, None),
    ],
)
def test_the_engine_is_known_by_its_mark(
    plant: Plant, mark: str, environ: dict[str, str], expected: Engine | None
) -> None:
    assert engine(plant({mark: ""}), environ) is expected
