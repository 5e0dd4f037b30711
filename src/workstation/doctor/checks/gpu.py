"""Is there a GPU, may this process use it, and does the driver fit?"""

from __future__ import annotations

from workstation.doctor import nvml
from workstation.doctor.checks.gpu_access import how_to_give_access, how_to_restore
from workstation.doctor.finding import Finding, fail, ok, warn
from workstation.doctor.graphics import Graphics
from workstation.doctor.host import Host
from workstation.doctor.units import size

# CUDA's major version -> the first driver branch that runs it, by minor-version compatibility
# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
NONE_HERE = "none here: CPU"


def gpu(host: Host) -> Finding:
    """A GPU that nobody handed to the container trains nothing, and torch falls back to the CPU in silence."""
    seen = host.graphics
    described = [_describe(gpu) for gpu in seen.gpus]
    refusal = refusal_of(seen)
    if refusal is not None:
        silent = f"{'another GPU' if described else 'the driver'} does not answer: {refusal}"
        return fail("\n".join([*described, silent]), remedy=how_to_restore(refusal))
    if described:
        listed = "\n".join(described)
        if hidden_from_cuda(host):
            return warn(
                f"{listed}\nhidden: CUDA_VISIBLE_DEVICES={host.cuda_visible_devices!r}",
                remedy="unset CUDA_VISIBLE_DEVICES, or name GPUs in it: CUDA_VISIBLE_DEVICES=0",
            )
        return ok(listed)
    if seen.host_has_gpu:
        place = "this machine" if host.engine is None else "the host"
        addresses = f" (PCI {', '.join(seen.on_host)})" if seen.on_host else ""
        return warn(f"on {place}{addresses}, not visible here", remedy=how_to_give_access(host))
    return ok(NONE_HERE)


def driver(host: Host) -> Finding:
    """A driver older than CUDA's branch makes torch.cuda.is_available() False with no more than a warning."""
    version = host.graphics.driver or host.graphics.kernel_driver
    needed = oldest_driver(host)
    if version is None:
        return ok(NONE_HERE)
    if needed is None:
        return ok(version)
    if int(version.split(".")[0]) < needed:
        return fail(
            f"{version}: CUDA {host.installed.cuda} needs R{needed} or newer",
            remedy=f"on the host, install a driver of branch {needed} or newer (Ubuntu: sudo ubuntu-drivers install; "
            "WSL2: in Windows, never in WSL; others: https://www.nvidia.com/drivers), then reboot it",
        )
    return ok(f"{version} (CUDA {host.installed.cuda} needs R{needed} or newer)")


def oldest_driver(host: Host) -> int | None:
    """The driver branch that torch's CUDA needs; None for a CPU build."""
    cuda = host.installed.cuda
    return None if cuda is None else OLDEST_DRIVER.get(int(cuda.split(".")[0]))


def hidden_from_cuda(host: Host) -> bool:
    """CUDA reads the list up to the first entry that names no GPU: "" and "-1" hide every one."""
    if host.cuda_visible_devices is None:
        return False
    first = host.cuda_visible_devices.split(",")[0].strip()
    if first.isdigit():
        return int(first) >= len(host.graphics.gpus)
    return not first.startswith(("GPU-", "MIG-"))


def refusal_of(seen: Graphics) -> nvml.NvmlError | None:
    """What the driver answers instead; no library, or one on a machine without a GPU, is no fault of the driver's."""
    absent = {nvml.LIBRARY_NOT_FOUND} if seen.host_has_gpu else {nvml.LIBRARY_NOT_FOUND, nvml.DRIVER_NOT_LOADED}
    return None if seen.nvml_error is None or seen.nvml_error.code in absent else seen.nvml_error


def _describe(gpu: nvml.Gpu) -> str:
    if gpu.is_slice:
        memory = "a slice of it (MIG)"
    else:
        memory = "shared memory" if gpu.memory_bytes is None else size(gpu.memory_bytes)
    major, minor = gpu.compute_capability
    return f"{gpu.index}: {gpu.name}, {memory}, compute capability {major}.{minor}"
