"""The command that gives a GPU to this container, or gives it back."""

from __future__ import annotations

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
    Engine.PODMAN: "podman run --device nvidia.com/gpu=all …, after "
    "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml on the host",
    Engine.KUBERNETES: "ask for one in the pod: resources: {limits: {nvidia.com/gpu: 1}}",
    Engine.APPTAINER: "apptainer run --nv …",
}


def how_to_give_access(host: Host) -> str:
    """For a GPU that /proc or /sys shows and NVML does not."""
    if host.engine is None:
        return f"{INSTALL_DRIVER}; nvidia-smi must list the GPU"
    if host.graphics.kernel_driver is None:
        return f"the host has loaded no NVIDIA driver. There, {INSTALL_DRIVER}; then {HAND_OVER[host.engine]}"
    if host.nvidia_visible_devices in ("", "none"):
        return f"NVIDIA_VISIBLE_DEVICES={host.nvidia_visible_devices!r} asks for no GPU: set it to all"
    return HAND_OVER[host.engine]


def how_to_restore(error: nvml.NvmlError) -> str:
    """For a driver library that is there and refuses."""
    return _RESTORE.get(error.code, "run nvidia-smi on the host; if it fails there too, reboot the host")


_RESTORE = {
    nvml.LIBRARY_NOT_FOUND: "restart this container with its GPUs: docker run --gpus all …",
    nvml.UNKNOWN: "restart this container: systemd took the GPU's device from it (systemctl daemon-reload; "
    "nvidia-container-toolkit#48). To prevent it, on the host: sudo nvidia-ctk system create-dev-char-symlinks "
    '--create-all, or "exec-opts": ["native.cgroupdriver=cgroupfs"] in /etc/docker/daemon.json',
    nvml.VERSION_MISMATCH: "the host's driver was upgraded: reboot the host, or reload its nvidia kernel modules, then "
    "make the container anew (docker compose up --force-recreate)",
    nvml.DRIVER_NOT_LOADED: "on the host: sudo modprobe nvidia; if that fails, install its driver again and reboot",
    nvml.GPU_IS_LOST: "the GPU fell off the bus (look for Xid 79 in the host's dmesg): reboot the host",
}
