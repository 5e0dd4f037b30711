"""The command that gives a GPU to this container, or gives it back."""

from __future__ import annotations

from collections.abc import Iterator

from workstation.doctor import nvml
from workstation.doctor.container import Engine
from workstation.doctor.host import Host

INSTALL_DRIVER = (
    "install NVIDIA's driver, R580 or newer (Ubuntu: sudo ubuntu-drivers install; "
    "others: https://www.nvidia.com/drivers), and reboot"
)
TOOLKIT = (
    'If Docker answers "could not select device driver" or "unresolvable CDI devices": '
    "sudo apt-get install nvidia-container-toolkit && sudo nvidia-ctk runtime configure --runtime=docker && "
    "sudo systemctl restart docker"
)
HAND_OVER = {
    Engine.DOCKER: "docker run --gpus all …, or docker compose -f docker-compose.yml -f compose/gpu.yml up. " + TOOLKIT,
    Engine.PODMAN: "podman run --device nvidia.com/gpu=all --security-opt label=disable …, after "
    "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml on the host",
    Engine.KUBERNETES: "ask for one in the pod: resources: {limits: {nvidia.com/gpu: 1}}, and take "
    "NVIDIA_VISIBLE_DEVICES out of its env (deploy/kubernetes/overlays/gpu does both)",
    Engine.APPTAINER: "apptainer run --nv …",
}


def how_to_give_access(host: Host) -> str:
    """For a GPU that /proc or /sys shows and NVML does not."""
    if host.engine is None:
        return f"{INSTALL_DRIVER}; nvidia-smi must list the GPU. In a container: start it with its GPUs (--gpus all)"
    if host.graphics.kernel_driver is None:
        return f"the host has loaded no NVIDIA driver. There, {INSTALL_DRIVER}; then {HAND_OVER[host.engine]}"
    return "".join(_left_out(host)) + HAND_OVER[host.engine]


def _left_out(host: Host) -> Iterator[str]:
    """What the container's own variables tell NVIDIA's runtime to keep from it."""
    devices, capabilities = host.nvidia_visible_devices, host.nvidia_driver_capabilities
    if devices in ("", "none"):
        yield f"NVIDIA_VISIBLE_DEVICES={devices!r} asks for no GPU: leave it out. Then "
    if capabilities and not {"all", "utility"} & set(capabilities.split(",")):
        yield f"NVIDIA_DRIVER_CAPABILITIES={capabilities!r} leaves out NVML: add utility. Then "


def how_to_restore(error: nvml.NvmlError) -> str:
    """For a driver library that is there and refuses."""
    return _RESTORE.get(error.code, "run nvidia-smi on the host; if it fails there too, reboot the host")


_RESTORE = {
    nvml.NO_PERMISSION: "SELinux or the mode of /dev/nvidia* keeps it from this user: start the container with "
    "--security-opt label=disable, or with --group-add and the device's group",
    nvml.LIBRARY_NOT_FOUND: "restart this container with its GPUs: docker run --gpus all …",
    nvml.UNKNOWN: "restart this container: systemd took the GPU's device from it (systemctl daemon-reload; "
    "nvidia-container-toolkit#48). To prevent it, on the host: sudo nvidia-ctk system create-dev-char-symlinks "
    '--create-all, or "exec-opts": ["native.cgroupdriver=cgroupfs"] in /etc/docker/daemon.json',
    nvml.VERSION_MISMATCH: "the host's driver was upgraded: reboot the host, or reload its nvidia kernel modules, then "
    "make the container anew (docker compose up --force-recreate)",
    nvml.DRIVER_NOT_LOADED: "on the host: sudo modprobe nvidia; if that fails, install its driver again and reboot",
    nvml.GPU_IS_LOST: "the GPU fell off the bus (look for Xid 79 in the host's dmesg): reboot the host",
}
