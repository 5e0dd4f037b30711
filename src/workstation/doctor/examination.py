"""All checks, in the order they are shown, put to one machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from workstation.doctor.checks import compiling, cuda, gpu, resources, software
from workstation.doctor.finding import Finding, Status
from workstation.doctor.machine import Machine

Check = Callable[[Machine], Finding]

GPU_CHECKS: tuple[Check, ...] = (gpu.gpu, gpu.driver, cuda.gpu_kernels, cuda.gpu_use)
SECTIONS: dict[str, tuple[Check, ...]] = {
    "Software": (software.python, software.torch),
    "CUDA": (cuda.cuda, cuda.cudnn, cuda.nccl, cuda.cuda_libraries_loaded, cuda.cuda_libraries_installed),
    "GPU": GPU_CHECKS,
    "Machine": (
        resources.cpus,
        resources.memory,
        resources.shared_memory,
        resources.home,
        resources.temporary_directory,
    ),
    "torch.compile": (
        compiling.c_compiler,
        compiling.cxx_compiler,
        compiling.inductor_cache,
        compiling.triton_cache,
        compiling.working_directory,
    ),
}


@dataclass(frozen=True)
class Row:
    """A finding and the check that made it, by name."""

    section: str
    check: str
    finding: Finding


def examine(machine: Machine, *, require_gpu: bool = False) -> tuple[Row, ...]:
    """Judge everything. With `require_gpu`, a GPU that CUDA programs cannot see fails every GPU check."""
    refuse = require_gpu and not _gpu_at_hand(machine)
    return tuple(
        Row(section, check.__name__, _required(check(machine)) if refuse and check in GPU_CHECKS else check(machine))
        for section, checks in SECTIONS.items()
        for check in checks
    )


def worst(rows: tuple[Row, ...]) -> Status:
    return max(row.finding.status for row in rows)


def _gpu_at_hand(machine: Machine) -> bool:
    return bool(machine.graphics.gpus) and not gpu.hidden_from_cuda(machine)


def _required(finding: Finding) -> Finding:
    # WSL2 shows a container nothing of a GPU that it was not given
    remedy = (
        finding.remedy
        or "use a machine with an NVIDIA GPU (under WSL2: docker run --gpus all …), or leave --require-gpu out"
    )
    return replace(finding, status=Status.FAIL, remedy=remedy)
