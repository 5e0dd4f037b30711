"""The checks of CUDA, its libraries and GPUs say what is wrong and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from altered import graphics, no_gpu, says, torch, unseen

from workstation.doctor import nvml
from workstation.doctor.checks import cuda, gpu
from workstation.doctor.child import ChildError
from workstation.doctor.container import Engine
from workstation.doctor.examination import Check
from workstation.doctor.finding import Status
from workstation.doctor.machine import Machine
from workstation.doctor.nvml import Gpu, NvmlError
from workstation.doctor.plain_program import Found, PlainProgram
from workstation.doctor.torch_facts import Device, TorchFacts
from workstation.doctor.units import GIB

# CUDA


def test_a_cpu_build_beside_a_gpu_fails(healthy: Machine) -> None:
    says(cuda.cuda(torch(healthy, cuda=None)), Status.FAIL, "CPU build", "whl/cu130")
    says(cuda.cuda(unseen(torch(healthy, cuda=None))), Status.FAIL, "CPU build")


def test_a_cpu_build_on_a_machine_without_a_gpu_is_fine(healthy: Machine) -> None:
    cpu = no_gpu(torch(healthy, cuda=None, cudnn=None, nccl=None))
    for check in (cuda.cuda, cuda.cudnn, cuda.nccl):
        says(check(cpu), Status.OK, "CPU build")


@pytest.mark.parametrize("check", [cuda.cuda, cuda.cudnn, cuda.nccl, cuda.cuda_libraries_loaded, cuda.gpu_kernels])
def test_what_cannot_be_known_is_not_called_ok(healthy: Machine, check: Check) -> None:
    says(check(replace(healthy, torch=ChildError("killed by SIGSEGV"))), Status.WARN, "unknown")


def test_another_version_of_cudnn_for_other_programs_fails(healthy: Machine) -> None:
    system = Found("/usr/lib/x86_64-linux-gnu/libcudnn.so.9", "9.20.0")
    mixed = replace(healthy, plain_program=replace(healthy.plain_program, cudnn=system))
    says(cuda.cudnn(mixed), Status.FAIL, "torch has 9.24.0, other programs 9.20.0")


def test_a_second_file_of_the_same_cudnn_is_a_warning(healthy: Machine) -> None:
    system = Found("/usr/lib/x86_64-linux-gnu/libcudnn.so.9", "9.24.0")
    mixed = replace(healthy, plain_program=replace(healthy.plain_program, cudnn=system))
    says(cuda.cudnn(mixed), Status.WARN, "twice")


def test_a_cudnn_that_torch_refuses_fails(healthy: Machine) -> None:
    refused = torch(healthy, cudnn=None, cudnn_error="cuDNN version incompatibility: compiled against (9, 24, 0)")
    says(cuda.cudnn(refused), Status.FAIL, "incompatibility", "LD_LIBRARY_PATH")


def test_a_gpu_that_cudnn_no_longer_serves_is_not_taken_for_two_cudnns(healthy: Machine) -> None:
    error = "cuDNN version 92400 is not compatible with devices with SM < 7.5. Please install a version of PyTorch"
    finding = cuda.cudnn(torch(healthy, cudnn=None, cudnn_error=error))
    says(finding, Status.FAIL, "CUDA 12.6 wheels")
    assert "LD_LIBRARY_PATH" not in str(finding.remedy)
    gpus = "CUDA call failed lazily at initialization with error: Invalid device id"
    says(cuda.cudnn(torch(healthy, cudnn=None, cudnn_error=gpus)), Status.FAIL, "see gpu use, below")


def test_another_nccl_for_other_programs_fails(healthy: Machine) -> None:
    system = Found("/usr/lib/x86_64-linux-gnu/libnccl.so.2", "2.27.3")
    mixed = replace(healthy, plain_program=replace(healthy.plain_program, nccl=system))
    says(cuda.nccl(mixed), Status.FAIL, "2.27.3")


def test_a_torch_without_nccl_is_a_warning(healthy: Machine) -> None:
    says(cuda.nccl(torch(healthy, nccl=None)), Status.WARN, "without it")


def test_libraries_that_only_torch_finds_are_fine(healthy: Machine) -> None:
    alone = replace(healthy, plain_program=PlainProgram(None, None))
    says(cuda.cudnn(alone), Status.OK, "other programs find none")


def test_a_library_loaded_from_two_files_fails(healthy: Machine) -> None:
    assert isinstance(healthy.torch, TorchFacts)
    twice = torch(healthy, mapped=(*healthy.torch.mapped, "/usr/local/cuda/lib64/libcudnn.so.9"))
    says(cuda.cuda_libraries_loaded(twice), Status.FAIL, "libcudnn.so.9: in ", "/cudnn/lib and /usr/local/cuda/lib64")


def test_libraries_installed_twice_are_a_warning_a_line_for_each_pair_of_folders(healthy: Machine) -> None:
    twice = {
        "libcudart.so.13": ("/a/libcudart.so.13", "/b/libcudart.so.13.0.96"),
        "libcufft.so.12": ("/a/libcufft.so.12",),
        "libnvrtc.so.13": ("/a/libnvrtc.so.13", "/b/libnvrtc.so.13"),
    }
    finding = cuda.cuda_libraries_installed(replace(healthy, libraries=twice))
    says(finding, Status.WARN, "LD_LIBRARY_PATH")
    assert finding.value == "libcudart.so.13, libnvrtc.so.13: in /a and /b"


@pytest.mark.parametrize(
    ("architecture", "capability", "runs"),
    [
        ("sm_90", (9, 0), True),
        ("sm_86", (8, 9), True),  # a later minor version of its generation
        ("sm_86", (8, 0), False),  # an earlier one
        ("sm_80", (9, 0), False),  # machine code does not run on another generation
        ("sm_90a", (9, 0), True),
        ("sm_100a", (10, 3), False),  # "a" is for that very GPU
        ("compute_80", (9, 0), True),  # PTX is compiled by the driver
        ("compute_120", (9, 0), False),
        ("sm_120", (12, 1), True),
    ],
)
def test_which_code_runs_on_which_gpu(architecture: str, capability: tuple[int, int], runs: bool) -> None:
    assert cuda.runs_on(architecture, capability) is runs


def test_a_gpu_that_torch_holds_no_code_for_fails(healthy: Machine) -> None:
    old = torch(healthy, devices=(Device("Tesla V100", (7, 0), "no kernel image is available"),))
    says(cuda.gpu_kernels(old), Status.FAIL, "Tesla V100 is sm_70", "sm_75", "CUDA_VISIBLE_DEVICES")


def test_an_old_gpu_is_named_even_where_torch_cannot_open_it(healthy: Machine) -> None:
    old = graphics(healthy, gpus=(Gpu(0, "Tesla V100", 16 * GIB, (7, 0)),))
    says(cuda.gpu_kernels(torch(old, devices=(), cuda_error="driver too old")), Status.FAIL, "Tesla V100 is sm_70")


def test_an_old_gpu_that_cuda_visible_devices_leaves_out_is_no_fault(healthy: Machine) -> None:
    beside = graphics(healthy, gpus=(*healthy.graphics.gpus, Gpu(1, "Tesla V100", 16 * GIB, (7, 0))))
    says(cuda.gpu_kernels(replace(beside, cuda_visible_devices="0")), Status.OK)


@pytest.mark.parametrize(
    ("visible", "error", "remedy"),
    [
        (None, "driver too old", "see cuda and driver"),
        (None, "No CUDA GPUs are available", "see cuda and driver"),
        ("GPU-8f6d", "No CUDA GPUs are available", "CUDA_VISIBLE_DEVICES='GPU-8f6d' names none of them: unset it"),
        ("0,0", "No CUDA GPUs are available", "CUDA_VISIBLE_DEVICES='0,0' names none of them: unset it"),
        ("0", "Found no NVIDIA driver on your system.", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"),
    ],
)
def test_a_gpu_that_torch_cannot_open_fails_in_torchs_words(
    healthy: Machine, visible: str | None, error: str, remedy: str
) -> None:
    closed = replace(torch(healthy, cuda_error=error, devices=()), cuda_visible_devices=visible)
    says(cuda.gpu_use(closed), Status.FAIL, error, remedy)


def test_a_gpu_that_computes_wrongly_or_not_at_all_fails(healthy: Machine) -> None:
    ill = torch(
        healthy, devices=(Device("H100", (9, 0), None), Device("H100", (9, 0), "CUDA error: uncorrectable ECC error"))
    )
    says(cuda.gpu_use(ill), Status.FAIL, "cuda:1: CUDA error: uncorrectable ECC error", "nvidia-smi")


def test_a_gpu_without_code_is_not_looked_for_with_nvidia_smi(healthy: Machine) -> None:
    old = torch(healthy, devices=(Device("GTX 1080", (6, 1), "CUDA error: no kernel image is available"),))
    says(cuda.gpu_use(old), Status.FAIL, "cuda:0: CUDA error: no kernel image", "see gpu kernels, above")


# GPU


def test_each_gpu_is_shown_with_its_memory_and_capability(healthy: Machine) -> None:
    gb10, cut = Gpu(1, "NVIDIA GB10", None, (12, 1)), Gpu(2, "NVIDIA H100", None, (9, 0), is_slice=True)
    assert gpu.gpu(graphics(healthy, gpus=(*healthy.graphics.gpus, gb10, cut))).value.splitlines() == [
        "0: NVIDIA H100 80GB HBM3, 80.0 GiB, compute capability 9.0",
        "1: NVIDIA GB10, shared memory, compute capability 12.1",
        "2: NVIDIA H100, a slice of it (MIG), compute capability 9.0",
    ]


@pytest.mark.parametrize("value", ["", "-1", "1", "NoDevFiles", " ,0"])
def test_gpus_hidden_by_cuda_visible_devices_are_noticed(healthy: Machine, value: str) -> None:
    hidden = replace(healthy, cuda_visible_devices=value)
    says(gpu.gpu(hidden), Status.WARN, "hidden: CUDA_VISIBLE_DEVICES", "unset CUDA_VISIBLE_DEVICES")
    says(cuda.gpu_use(hidden), Status.WARN, "hidden")


@pytest.mark.parametrize("value", ["0", "0,1", "GPU-8f6d", "MIG-8f6d"])
def test_a_choice_of_gpus_hides_nothing(healthy: Machine, value: str) -> None:
    says(gpu.gpu(replace(healthy, cuda_visible_devices=value)), Status.OK)


@pytest.mark.parametrize(
    ("engine", "command"),
    [
        (Engine.DOCKER, "docker run --gpus all"),
        (Engine.DOCKER, "docker compose -f docker-compose.yml -f compose/gpu.yml up"),
        (Engine.DOCKER, "sudo nvidia-ctk runtime configure --runtime=docker"),
        (Engine.PODMAN, "podman run --device nvidia.com/gpu=all --security-opt label=disable"),
        (Engine.KUBERNETES, "nvidia.com/gpu: 1"),
        (Engine.KUBERNETES, "take NVIDIA_VISIBLE_DEVICES out"),
        (Engine.APPTAINER, "apptainer run --nv"),
        (None, "install NVIDIA's driver"),
        (None, "In a container: start it with its GPUs"),  # nerdctl, LXC and enroot leave no mark
    ],
)
def test_a_gpu_that_is_on_the_host_gets_the_engines_own_command(
    healthy: Machine, engine: Engine | None, command: str
) -> None:
    says(gpu.gpu(unseen(healthy, engine=engine)), Status.WARN, "0000:04:00.0", command)


def test_a_host_that_has_no_driver_gets_one_first(healthy: Machine) -> None:
    bare = graphics(unseen(healthy), kernel_driver=None)
    says(gpu.gpu(bare), Status.WARN, "the host has loaded no NVIDIA driver", "ubuntu-drivers", "--gpus all")


def test_a_gpu_known_by_its_driver_alone_is_noticed(healthy: Machine) -> None:
    """Some virtual machines show no PCI device."""
    says(gpu.gpu(graphics(unseen(healthy), on_host=())), Status.WARN, "on the host, not visible here")


@pytest.mark.parametrize("value", ["", "none"])
def test_a_container_that_asked_for_no_gpu_is_told_so(healthy: Machine, value: str) -> None:
    finding = gpu.gpu(unseen(healthy, nvidia_visible_devices=value))
    says(
        finding,
        Status.WARN,
        f"NVIDIA_VISIBLE_DEVICES={value!r} asks for no GPU: leave it out. Then docker run --gpus all",
    )


def test_a_container_that_was_given_no_nvml_is_told_so(healthy: Machine) -> None:
    """torch may compute there all the same."""
    finding = gpu.gpu(unseen(healthy, nvidia_driver_capabilities="compute"))
    says(finding, Status.WARN, "NVIDIA_DRIVER_CAPABILITIES='compute' leaves out NVML: add utility")
    for enough in (None, "", "all", "compute,utility"):
        remedy = gpu.gpu(unseen(healthy, nvidia_driver_capabilities=enough)).remedy
        assert "NVIDIA_DRIVER_CAPABILITIES" not in str(remedy)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (nvml.UNKNOWN, "nvidia-container-toolkit#48"),
        (nvml.VERSION_MISMATCH, "--force-recreate"),
        (nvml.DRIVER_NOT_LOADED, "sudo modprobe nvidia"),
        (nvml.GPU_IS_LOST, "Xid 79"),
        (nvml.NO_PERMISSION, "--security-opt label=disable"),
        (1, "nvidia-smi on the host"),
    ],
)
def test_a_driver_that_refuses_fails_with_the_way_back(healthy: Machine, code: int, words: str) -> None:
    refused = graphics(healthy, gpus=(), driver=None, nvml_error=NvmlError(code, "its own words"))
    says(gpu.gpu(refused), Status.FAIL, "its own words", words)


def test_a_lost_gpu_is_told_beside_those_that_answer(healthy: Machine) -> None:
    seven = graphics(healthy, nvml_error=NvmlError(nvml.GPU_IS_LOST, "GPU is lost"))
    says(gpu.gpu(seven), Status.FAIL, "0: NVIDIA H100", "another GPU does not answer: GPU is lost", "Xid 79")
    says(cuda.gpu_use(seven), Status.OK, "1 ran a matrix product")


@pytest.mark.parametrize("check", [cuda.gpu_kernels, cuda.gpu_use])
def test_behind_a_driver_that_refuses_no_gpu_is_called_absent(healthy: Machine, check: Check) -> None:
    refused = graphics(healthy, gpus=(), driver=None, nvml_error=NvmlError(nvml.UNKNOWN, "Unknown Error"))
    says(check(refused), Status.WARN, "unknown", "see gpu, above")


def test_a_driver_library_left_on_a_machine_without_a_gpu_is_no_fault(healthy: Machine) -> None:
    idle = replace(no_gpu(healthy).graphics, nvml_error=NvmlError(nvml.DRIVER_NOT_LOADED, "Driver Not Loaded"))
    says(gpu.gpu(replace(healthy, graphics=idle)), Status.OK, "none here")


def test_a_driver_older_than_cuda_needs_fails(healthy: Machine) -> None:
    says(gpu.driver(graphics(healthy, driver="570.133.20")), Status.FAIL, "CUDA 13.0 needs R580", "WSL2", "reboot")


def test_the_hosts_old_driver_is_noticed_before_the_gpu_is_handed_over(healthy: Machine) -> None:
    says(gpu.driver(graphics(unseen(healthy), kernel_driver="535.54.03")), Status.FAIL, "535.54.03")


def test_an_older_cuda_is_content_with_an_older_driver(healthy: Machine) -> None:
    older = replace(graphics(healthy, driver="570.133.20"), installed=replace(healthy.installed, cuda="12.8"))
    says(gpu.driver(older), Status.OK, "R525")
