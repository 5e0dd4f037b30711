"""CUDA's libraries: the versions torch runs with, and one copy of each."""

from __future__ import annotations

from pathlib import PurePath

from workstation.doctor.checks.gpu import NONE_HERE, hidden_from_cuda, refusal_of
from workstation.doctor.finding import Finding, fail, ok, warn
from workstation.doctor.libraries import Copies, copies
from workstation.doctor.machine import Machine
from workstation.doctor.nvml import Gpu
from workstation.doctor.plain_program import Found
from workstation.doctor.torch_facts import Device, TorchFacts

UNKNOWN = warn("unknown: torch does not import", remedy="mend torch first, see above")
CPU_BUILD = ok("none: torch is a CPU build")
ANOTHER_BUILD = "take a torch built for it (older GPUs: the CUDA 12.6 wheels), or hide it: CUDA_VISIBLE_DEVICES=…"
KEEP_ONE = "keep one: torch's wheels or the system's packages, not both; take other folders out of LD_LIBRARY_PATH"

# torch's words -> what mends it. The second is said of the only cuDNN there is, for a GPU that it no longer serves.
CUDNN_REFUSALS = {"incompatibility": KEEP_ONE, "SM <": ANOTHER_BUILD}


def cuda(machine: Machine) -> Finding:
    """A resolver that comes across a CPU wheel installs it in silence, and every model trains on the CPU."""
    if not isinstance(machine.torch, TorchFacts):
        return UNKNOWN
    if machine.torch.cuda is not None:
        return ok(machine.torch.cuda)
    if machine.graphics.host_has_gpu or machine.graphics.gpus:
        return fail(
            "torch is a CPU build, and this machine has a GPU",
            remedy="pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu130",
        )
    return CPU_BUILD


def cudnn(machine: Machine) -> Finding:
    """onnxruntime and others take cuDNN from ld.so: if that is another one, whoever is second in a process fails."""
    if not isinstance(machine.torch, TorchFacts):
        return UNKNOWN
    if machine.torch.cudnn_error is not None:
        remedies = (remedy for words, remedy in CUDNN_REFUSALS.items() if words in machine.torch.cudnn_error)
        return fail(machine.torch.cudnn_error, remedy=next(remedies, "see gpu use, below"))
    return _one_for_all(machine.torch, "libcudnn.so.9", machine.torch.cudnn, machine.plain_program.cudnn)


def nccl(machine: Machine) -> Finding:
    """GPUs exchange gradients through it; two versions in one job do not talk to each other."""
    if not isinstance(machine.torch, TorchFacts):
        return UNKNOWN
    return _one_for_all(machine.torch, "libnccl.so.2", machine.torch.nccl, machine.plain_program.nccl)


def cuda_libraries_loaded(machine: Machine) -> Finding:
    """Once the trio is imported, /proc/self/maps shows what is really in use: one file for one soname."""
    if not isinstance(machine.torch, TorchFacts):
        return UNKNOWN
    loaded = copies(machine.torch.mapped)
    twice = _twice(loaded)
    return fail(twice, remedy=KEEP_ONE) if twice else ok(f"{len(loaded)} loaded, one file each")


def cuda_libraries_installed(machine: Machine) -> Finding:
    """A second copy that nothing loads yet costs gigabytes, and is what the next program may load."""
    twice = _twice(machine.libraries)
    return warn(twice, remedy=KEEP_ONE) if twice else ok(f"{len(machine.libraries)} installed, one file each")


def gpu_kernels(machine: Machine) -> Finding:
    """A wheel holds machine code for some GPUs only: for another, "no kernel image is available"."""
    if not machine.graphics.gpus:
        return _none_here(machine)
    if not isinstance(machine.torch, TorchFacts):
        return UNKNOWN
    built_for = " ".join(machine.torch.architectures) or "no GPU"
    # torch's own list where it has one: CUDA_VISIBLE_DEVICES has taken out the GPUs that nobody means to use
    gpus = machine.torch.devices or machine.graphics.gpus
    strangers = [
        f"{gpu.name} is sm_{gpu.compute_capability[0]}{gpu.compute_capability[1]}"
        for gpu in gpus
        if not _holds_code(machine.torch, gpu)
    ]
    if strangers:
        return fail(
            f"{', '.join(strangers)}; torch is built for {built_for}",
            remedy=ANOTHER_BUILD,
        )
    return ok(f"built for {built_for}")


def gpu_use(machine: Machine) -> Finding:
    """A driver that answers is not yet a GPU that computes: multiply and convolve on each."""
    if not machine.graphics.gpus:
        return _none_here(machine)
    if not isinstance(machine.torch, TorchFacts):
        return UNKNOWN
    if hidden_from_cuda(machine):
        return warn("hidden by CUDA_VISIBLE_DEVICES", remedy="see gpu, above")
    if machine.torch.cuda_error is not None:
        return fail(
            f"torch cannot use it: {machine.torch.cuda_error}",
            remedy=_how_to_open(machine.torch.cuda_error, machine.cuda_visible_devices),
        )
    faulty = [(index, device) for index, device in enumerate(machine.torch.devices) if device.fault]
    if faulty:
        served = any(_holds_code(machine.torch, device) for _, device in faulty)
        return fail(
            "\n".join(f"cuda:{index}: {device.fault}" for index, device in faulty),
            remedy="see who holds it with nvidia-smi; if nobody does, reboot the host"
            if served
            else "see gpu kernels, above",
        )
    return ok(f"{len(machine.torch.devices)} ran a matrix product and a convolution")


def runs_on(architecture: str, capability: tuple[int, int]) -> bool:
    """Whether code for "sm_86" or "compute_90" runs on a GPU.

    Machine code runs on its own generation, from its own minor version up; "sm_90a" on that very one; PTX
    ("compute_90") on everything as new or newer. CUDA Programming Guide, "Compute capability: compatibility".
    """
    kind, _, digits = architecture.partition("_")
    number = int(digits.rstrip("af"))
    built = (number // 10, number % 10)
    if digits.endswith("a"):
        return capability == built
    if kind == "compute":
        return capability >= built
    return capability[0] == built[0] and capability[1] >= built[1]


def _none_here(machine: Machine) -> Finding:
    """A driver that does not answer says nothing of the GPUs behind it."""
    return ok(NONE_HERE) if refusal_of(machine.graphics) is None else warn("unknown", remedy="see gpu, above")


def _holds_code(facts: TorchFacts, gpu: Device | Gpu) -> bool:
    return any(runs_on(name, gpu.compute_capability) for name in facts.architectures)


def _how_to_open(error: str, cuda_visible_devices: str | None) -> str:
    """NVML shows GPUs, and torch gets none of them."""
    if "No CUDA GPUs" in error and cuda_visible_devices is not None:
        return f"CUDA_VISIBLE_DEVICES={cuda_visible_devices!r} names none of them: unset it"
    if "Found no NVIDIA driver" in error:
        return "libcuda.so.1 is missing here: start with NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    return "see cuda and driver; if both are well, restart this container"


def _one_for_all(facts: TorchFacts, soname: str, version: str | None, plain: Found | None) -> Finding:
    if facts.cuda is None:
        return CPU_BUILD
    if version is None:
        return warn("torch is built without it", remedy="take NVIDIA's or PyTorch's own wheels of torch")
    if plain is None:
        return ok(f"{version}, torch's own; other programs find none")
    own = copies(facts.mapped).get(soname, ())
    if plain.version != version:
        return fail(f"torch has {version}, other programs {plain.version} ({plain.file})", remedy=KEEP_ONE)
    if own and plain.file not in own:
        return warn(f"{version}, but twice: {own[0]} and {plain.file}", remedy=KEEP_ONE)
    return ok(f"{version}: one file for torch and every other program")


def _twice(found: Copies) -> str:
    """The sonames with more than one file, a line for each set of folders that hold them."""
    folders: dict[tuple[str, ...], list[str]] = {}
    for soname, files in found.items():
        if len(files) > 1:
            folders.setdefault(tuple(str(PurePath(file).parent) for file in files), []).append(soname)
    return "\n".join(f"{', '.join(sonames)}: in {' and '.join(places)}" for places, sonames in folders.items())
