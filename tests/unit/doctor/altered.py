"""A machine with one thing about it changed, and what a check then has to say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workstation.doctor import nvml
from workstation.doctor.finding import Finding, Status
from workstation.doctor.graphics import Graphics
from workstation.doctor.machine import Machine
from workstation.doctor.nvml import NvmlError
from workstation.doctor.torch_facts import TorchFacts

NO_LIBRARY = NvmlError(nvml.LIBRARY_NOT_FOUND, "libnvidia-ml.so.1: cannot open shared object file")


def graphics(machine: Machine, **changes: Any) -> Machine:
    return replace(machine, graphics=replace(machine.graphics, **changes))


def unseen(machine: Machine, **changes: Any) -> Machine:
    """The host's GPU, not handed to the container."""
    return replace(graphics(machine, gpus=(), driver=None, nvml_error=NO_LIBRARY), **changes)


def no_gpu(machine: Machine) -> Machine:
    return replace(machine, graphics=Graphics((), None, NO_LIBRARY, None, ()))


def torch(machine: Machine, **changes: Any) -> Machine:
    assert isinstance(machine.torch, TorchFacts)
    return replace(machine, torch=replace(machine.torch, **changes))


def place(machine: Machine, name: str, **changes: Any) -> Machine:
    return replace(machine, places=replace(machine.places, **{name: replace(getattr(machine.places, name), **changes)}))


def says(finding: Finding, status: Status, *words: str) -> None:
    """The status, and each of the words somewhere in what is said; what is not OK has a remedy."""
    assert finding.status is status, finding
    said = f"{finding.value}\n{finding.remedy}"
    for word in words:
        assert word in said
    assert (finding.remedy is None) == (status is Status.OK)
