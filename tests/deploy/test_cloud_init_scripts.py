"""The scripts of deploy/cloud-init.yaml, run: as root in a container without a network, and the last on this Docker.

Not run here: the installation on Ubuntu, and a GPU. A GPU and its driver are played by programs on PATH.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from docker.errors import NotFound
from docker.models.containers import Container
from lab import START_DEADLINE_S, Lab, wait_for
from testcontainers.core.docker_client import DockerClient
from throwaway import run

SETTINGS = "NAME=lab PORT=8888 SHM_SIZE=2g IMAGE=some/image:1"
TOKEN = "the-token-of-a-vm"
RunningVm = tuple[Lab, subprocess.Popen[str]]  # the container, and the script that became `docker run`


@pytest.fixture
def inside(machine: Container) -> Container:
    """The VM before its first boot: no token, no pretended program."""
    in_vm(machine, "rm -rf /etc/torch-workstation/* /opt/vm/*")
    return machine


@pytest.fixture(scope="module")
def machine(image: str, vm: Path) -> Iterator[Container]:
    """A container without a network that stands for the VM; the metadata service answers on its loopback."""
    service = Path(__file__).with_name("metadata_service.py")
    container = DockerClient().client.containers.run(
        image,
        ["python", "/metadata_service.py"],
        user="0:0",
        network_mode="none",
        detach=True,
        environment={"HOME": "/root", "CONFIGURATION_DIRECTORY": "/etc/torch-workstation"},
        volumes={
            str(vm / "usr/local/sbin"): {"bind": "/usr/local/sbin", "mode": "ro"},
            str(service): {"bind": "/metadata_service.py", "mode": "ro"},
        },
    )
    try:
        # curl is led to the loopback: nothing of a test may ask where a real VM keeps its credentials.
        in_vm(container, "mkdir -p /etc/torch-workstation /opt/vm")
        in_vm(container, "echo 'connect-to = 169.254.169.254:80:127.0.0.1:8000' > /root/.curlrc")
        up = "test -e /tmp/metadata-is-up"
        wait_for(lambda: in_vm(container, up)[0] == 0, "the metadata service", container=container, deadline_s=30)
        yield container
    finally:
        container.remove(force=True)


def in_vm(container: Container, command: str) -> tuple[int, str]:
    ended = container.exec_run(["bash", "-c", f'PATH="/opt/vm:/usr/local/sbin:$PATH"; {command}'])
    return ended.exit_code, ended.output.decode()


def pretend(container: Container, program: str, does: str) -> None:
    path = f"/opt/vm/{program}"
    code, output = in_vm(container, f"printf '#!/bin/bash\\n%s\\n' '{does}' > {path}; chmod +x {path}")
    assert code == 0, output


@pytest.mark.parametrize(
    ("cloud", "token"), [("aws", "from-a-tag"), ("gce", "from-an-attribute"), ("azure", "from-a-list")]
)
def test_the_token_comes_from_the_metadata(inside: Container, cloud: str, token: str) -> None:
    pretend(inside, "cloud-id", f"echo {cloud}")
    code, output = in_vm(inside, "torch-workstation-token")
    assert code == 0, output
    assert token not in output, "the journal keeps what is printed"
    assert in_vm(inside, "cat /etc/torch-workstation/token") == (0, f"{token}\n")
    assert in_vm(inside, "stat -c '%u:%g %a' /etc/torch-workstation/token") == (0, "1000:0 400\n")
    assert in_vm(inside, "ls /etc/torch-workstation") == (0, "token\n"), "nothing half-written beside it"


def test_without_one_in_the_metadata_the_token_is_random_and_stays(inside: Container) -> None:
    pretend(inside, "cloud-id", "echo openstack")
    code, output = in_vm(inside, "torch-workstation-token")
    assert (code, "random" in output) == (0, True), output
    made = in_vm(inside, "cat /etc/torch-workstation/token")[1]
    assert len(made.strip()) == 48
    assert made.strip() not in output
    in_vm(inside, "torch-workstation-token")
    assert in_vm(inside, "cat /etc/torch-workstation/token")[1] == made
    in_vm(inside, "rm /etc/torch-workstation/token; torch-workstation-token")
    assert in_vm(inside, "cat /etc/torch-workstation/token")[1] != made


@pytest.mark.parametrize(
    ("devices", "driver", "code", "says"),
    [
        ("", "exit 127", 1, ""),
        ("0001:00:00.0 0302: 10de:2330", "exit 9", 2, "no driver that answers"),
        ("0001:00:00.0 0302: 10de:2330", "echo 570.86.15", 2, "570.86.15 is too old"),
        ("0001:00:00.0 0300: 10de:2684", "echo 580.65.06", 0, ""),
        ("0001:00:00.1 0403: 10de:22ba", "exit 9", 1, ""),  # a graphics card's sound device is no GPU
    ],
)
def test_the_driver_is_judged(inside: Container, devices: str, driver: str, code: int, says: str) -> None:
    pretend(inside, "lspci", f'echo "{devices}"')
    pretend(inside, "nvidia-smi", driver)
    pretend(inside, "nvidia-ctk", "exit 0")
    ended, output = in_vm(inside, "torch-workstation-gpu")
    assert ended == code, output
    assert says in output
    assert ("torch-workstation-install-driver" in output) == (code == 2), "a remedy, and only then"


def test_the_driver_comes_with_the_program_that_is_asked_for_it(inside: Container) -> None:
    """`ubuntu-drivers install --gpgpu` alone brings no nvidia-smi: the start would find no driver that answers."""
    for program in ("apt-get", "cloud-init", "ubuntu-drivers", "systemctl"):
        pretend(inside, program, f'echo "{program} $*"')
    code, output = in_vm(inside, "torch-workstation-install-driver")
    assert code == 0, output
    assert output.splitlines() == [
        "cloud-init status --wait",
        "apt-get update",
        "apt-get install --yes ubuntu-drivers-common",
        "ubuntu-drivers install --gpgpu nvidia:580-server",
        "apt-get install --yes nvidia-utils-580-server",
        "systemctl reboot",
    ]
    pretend(inside, "ubuntu-drivers", "exit 1")
    code, output = in_vm(inside, "torch-workstation-install-driver")
    assert code == 1
    assert "reboot" not in output, "what failed stays on the screen"


def test_apts_lists_are_waited_for(inside: Container) -> None:
    """apt itself ends at once where another apt holds their lock."""
    pretend(inside, "sleep", "exit 0")
    pretend(inside, "apt-get", "echo asked; echo >> /opt/vm/asked; test $(wc -l < /opt/vm/asked) -eq 3")
    assert in_vm(inside, "torch-workstation-apt-update") == (0, "asked\n" * 3)
    pretend(inside, "apt-get", "exit 100")
    assert in_vm(inside, "torch-workstation-apt-update")[0] == 1, "a mirror that never answers is no success"


def test_a_gpu_that_came_later_stops_the_start_with_its_remedy(inside: Container) -> None:
    """The Container Toolkit comes at the first boot, where a GPU is there."""
    pretend(inside, "lspci", "echo 01:00.0 0302: 10de:2330")
    pretend(inside, "nvidia-smi", "echo 580.65.06")
    pretend(inside, "docker", 'echo "docker $*"')
    code, output = in_vm(inside, f"{SETTINGS} torch-workstation-run")
    assert code == 2, "systemd tries anything else again, every 15 seconds"
    assert "sudo torch-workstation-install-toolkit" in output
    assert "docker run" not in output


def test_a_gpu_is_handed_over_by_cdi_and_a_bad_driver_stops_the_start(inside: Container) -> None:
    pretend(inside, "lspci", "echo 01:00.0 0302: 10de:2330")
    pretend(inside, "nvidia-smi", "echo 580.65.06")
    pretend(inside, "nvidia-ctk", 'echo "nvidia-ctk $*"')
    pretend(inside, "docker", 'echo "docker $*"')
    code, output = in_vm(inside, f"{SETTINGS} torch-workstation-run")
    assert code == 0, output
    said = output.splitlines()
    made = said.index("nvidia-ctk system create-device-nodes --control-devices --load-kernel-modules")
    assert made < said.index("nvidia-ctk cdi generate --output=/run/cdi/nvidia.yaml"), (
        "what is missing is not described"
    )
    assert "--device nvidia.com/gpu=all" in output
    pretend(inside, "nvidia-smi", "exit 9")
    code, output = in_vm(inside, f"{SETTINGS} torch-workstation-run")
    assert code == 2
    assert "docker run" not in output


def test_the_firewall_rule_is_laid_once(vm: Path) -> None:
    """In a network namespace of its own, which needs no root: this machine's rules are not touched.

    One address is Azure's WireServer.
    """
    script = vm / "usr/local/sbin/torch-workstation-firewall"
    commands = f"iptables -N DOCKER-USER && {script} && {script} && iptables -S DOCKER-USER"
    laid = run("unshare", "--user", "--map-root-user", "--net", "bash", "-c", commands)
    rules = re.findall(r"^-A DOCKER-USER -d (\S+) -p tcp -m tcp --dport (\d+) -j REJECT", laid.stdout, re.MULTILINE)
    closed = [("168.63.129.16/32", "32526"), ("168.63.129.16/32", "80"), ("169.254.169.254/32", "80")]
    assert sorted(rules) == closed, laid.stdout
    assert laid.stdout.count("-A ") == len(closed), "and nothing else: both addresses answer for names, too"


@pytest.fixture
def lab_of_the_vm(image: str, vm: Path, tmp_path: Path) -> Iterator[RunningVm]:
    """torch-workstation-run itself, on this machine's Docker, as the unit would start it."""
    name, client = f"torch-workstation-test-{uuid.uuid4().hex[:8]}", DockerClient().client
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PATH": f"{vm}/usr/local/sbin:{without_gpu(tmp_path)}:{os.environ['PATH']}",
        "CONFIGURATION_DIRECTORY": str(tmp_path),
        "IMAGE": image,
        "NAME": name,
        "PORT": str(port),
        "SHM_SIZE": "1g",
    }
    started = subprocess.Popen(["torch-workstation-run"], env=environment, text=True)
    try:
        container = container_named(name, started)
        lab = Lab(container, f"127.0.0.1:{port}")
        lab.wait_until(lambda: answers(lab), "the Lab answers")
        yield lab, started
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(timeout=60)
        for volume in ("home", "cache"):
            client.volumes.get(f"{name}-{volume}").remove(force=True)


def container_named(name: str, starter: subprocess.Popen[str]) -> Container:
    deadline = time.monotonic() + START_DEADLINE_S
    while starter.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(NotFound):
            return DockerClient().client.containers.get(name)
        time.sleep(0.1)
    raise AssertionError(f"no container {name}; torch-workstation-run: {starter.poll()}")


def without_gpu(folder: Path) -> Path:
    """This machine may have no lspci, or a GPU: the test is about the container."""
    (folder / "bin").mkdir()
    (folder / "bin" / "lspci").write_text("#!/bin/sh\n")
    (folder / "bin" / "lspci").chmod(0o755)
    return folder / "bin"


def answers(lab: Lab) -> bool:
    try:
        return lab.get("api", token=None).status_code == 200
    except requests.RequestException:
        return False


def test_the_vms_lab_opens_with_its_token_on_the_loopback_alone(
    lab_of_the_vm: tuple[Lab, subprocess.Popen[str]],
) -> None:
    lab, started = lab_of_the_vm
    assert lab.get("lab", token=None).status_code == 302
    assert lab.get("lab", token=TOKEN).status_code == 200
    assert TOKEN not in lab.container.logs().decode(), "the journal keeps what the container prints"
    lab.container.reload()
    host = lab.container.attrs["HostConfig"]
    assert [binding["HostIp"] for binding in host["PortBindings"]["8888/tcp"]] == ["127.0.0.1"]
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
    assert host["LogConfig"]["Type"] == "local", "json-file, Docker's default, is never cut"
    assert " 0 FAIL" in lab.run("workstation", "doctor").output
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=30) == 0, "`systemctl stop` ends the server in order"
