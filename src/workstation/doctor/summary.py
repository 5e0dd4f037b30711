"""What the notebook server prints when it starts, and what its healthcheck asks afterwards: all without torch."""

from __future__ import annotations

from workstation.doctor import nvml
from workstation.doctor.checks.compiling import inductor_cache, triton_cache, working_directory
from workstation.doctor.checks.gpu import driver, gpu
from workstation.doctor.checks.gpu_access import how_to_restore
from workstation.doctor.checks.resources import cpus, home, memory, shared_memory, temporary_directory
from workstation.doctor.finding import Finding, Status
from workstation.doctor.host import ROOT, Host, inspect_host
from workstation.doctor.installed import Installed

SUBJECTS = (gpu, driver, memory, cpus, shared_memory, home)
# Said only when something is wrong: a reader at start has no use for six lines of "fine".
SILENT_WHEN_OK = (temporary_directory, inductor_cache, triton_cache, working_directory)


def start_summary(host: Host | None = None) -> str:
    """One line a subject, and under each problem what mends it. Takes milliseconds: nothing is imported to find out."""
    host = host or inspect_host(ROOT)
    lines = [_line("software", _software(host.installed))]
    for judge in (*SUBJECTS, *SILENT_WHEN_OK):
        finding = judge(host)
        if finding.status is not Status.OK or judge in SUBJECTS:
            lines += _lines(judge.__name__, finding)
    return "\n".join(lines)


def visible_gpu_count() -> int:
    """GPUs this container was given and that answer; 0 where there is no driver, or none that answers."""
    try:
        with nvml.Nvml() as session:
            return len(session.gpus()[0])
    except nvml.NvmlError:
        return 0


def lost_gpus(expected: int) -> str | None:
    """Why fewer than `expected` GPUs are left, with the remedy; None while all are there.

    A container can lose its GPUs while it runs, and only a new look at NVML shows it (nvidia-container-toolkit#48).
    """
    if expected == 0:
        return None
    try:
        with nvml.Nvml() as session:
            gpus, refusal = session.gpus()
    except nvml.NvmlError as error:
        gpus, refusal = (), error
    if len(gpus) >= expected:
        return None
    if refusal is not None:
        return f"GPU lost: {refusal}. {how_to_restore(refusal)}"
    return f"GPU lost: {len(gpus)} of {expected} left. Restart this container; if that fails, reboot the host"


def _software(found: Installed) -> str:
    if found.torch is None:
        return "torch is not installed"
    parts = (
        ("torch", found.torch),
        ("CUDA", found.cuda or "none (CPU build)"),
        ("cuDNN", found.cudnn),
        ("torchvision", found.torchvision),
        ("torchaudio", found.torchaudio),
    )
    return ", ".join(f"{name} {version}" for name, version in parts if version is not None)


def _lines(name: str, finding: Finding) -> list[str]:
    first, *more = finding.value.splitlines()
    marked = first if finding.status is Status.OK else f"{finding.status.name}: {first}"
    lines = [_line(name.replace("_", " "), marked), *(_line("", line) for line in more)]
    return lines if finding.remedy is None else [*lines, _line("", f"→ {finding.remedy}")]


def _line(name: str, text: str) -> str:
    return f"{name:<19}  {text}"
