"""scripts/configure: what the machine is goes into .env; what a person wrote there stays, to the byte."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

Load = Callable[[str], ModuleType]
Program = Callable[[str, str], Path]
Serve = Callable[[str, int, bytes], str]

OURS = "torch-workstation:local"
NVIDIA_BASE = "nvidia/cuda:13.0.3-base-ubuntu24.04"
ASKED = ["BASE_IMAGE", "CA_BUNDLE", "COMPOSE_FILE", "WORKSTATION_UID", "WORKSTATION_GID", "PORT", "JUPYTER_TOKEN"]
WRITTEN = ASKED[1:]  # NVIDIA's base is docker-compose.yml's own default: in .env it would stay when that moves on
DOCKER = """
case "$1" in
    info) cat "$here/info.json" ;;
    image) grep -qxF "$3" "$here/images" && cat "$here/base" ;;  # what its label says it was built from
    ps) case "$*" in  # any container of the image has the project's label; the number, only what Compose started
        *container-number*) cat "$here/ports" ;;
        *) echo "127.0.0.1:32827->8888/tcp" ;;
        esac ;;
esac
"""


@dataclass(frozen=True)
class Machine:
    """A checkout on a machine whose engine answers what the files beside `docker` say."""

    root: Path
    engine: Path

    @property
    def env(self) -> Path:
        return self.root / ".env"

    def values(self) -> dict[str, str]:
        return dict(re.findall(r"^(\w+)=(.*)$", self.env.read_text(), re.MULTILINE))

    def configure(self, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, self.root / "scripts" / "configure"],
            env={"PATH": os.environ["PATH"], **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def machine(checkout: Path, program: Program) -> Machine:
    engine = program("docker", DOCKER)
    (engine / "info.json").write_text(json.dumps({"Runtimes": {"runc": {}}, "DockerRootDir": "/nowhere"}))
    (engine / "images").write_text(f"{NVIDIA_BASE}\n")
    (engine / "base").touch()
    (engine / "ports").touch()
    return Machine(checkout, engine)


@pytest.fixture
def occupied_8888() -> Iterator[None]:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", 8888))
            listener.listen()
        except OSError:
            pass  # taken by somebody else: as good
        yield


def refused(done: subprocess.CompletedProcess[str], code: int, says: str) -> None:
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert says in done.stderr


def test_a_fresh_machine_gets_every_line_and_a_reason_for_each(machine: Machine) -> None:
    done = machine.configure()
    assert done.returncode == 0, done.stderr
    assert list(machine.values()) == WRITTEN
    assert [line.split()[0] for line in done.stdout.splitlines()] == ASKED
    assert all(len(line.split(maxsplit=2)) == 3 for line in done.stdout.splitlines()), done.stdout


def test_only_its_owner_reads_the_token_and_it_is_not_printed(machine: Machine) -> None:
    done = machine.configure()
    token = machine.values()["JUPYTER_TOKEN"]
    assert re.fullmatch(r"[0-9a-f]{48}", token)
    assert token not in done.stdout
    assert stat.S_IMODE(machine.env.stat().st_mode) == 0o600


def test_each_machine_has_a_token_of_its_own(machine: Machine) -> None:
    machine.configure()
    first = machine.values()["JUPYTER_TOKEN"]
    machine.env.unlink()
    machine.configure()
    assert machine.values()["JUPYTER_TOKEN"] != first


def test_what_a_person_wrote_stays_to_the_byte(machine: Machine) -> None:
    written = "# mine\n\nBASE_IMAGE=nvidia/cuda:of-old\nSHM_SIZE = 8gb\nJUPYTER_TOKEN='my own'\nA=b"  # and no newline
    machine.env.write_text(written)
    machine.env.chmod(0o644)
    done = machine.configure()
    assert machine.env.read_text().startswith(f"{written}\n")
    assert machine.env.read_text().count("JUPYTER_TOKEN") == 1
    assert re.search(r"^JUPYTER_TOKEN .*kept from \.env$", done.stdout, re.MULTILINE)
    assert stat.S_IMODE(machine.env.stat().st_mode) == 0o600


def test_a_second_run_changes_nothing(machine: Machine) -> None:
    machine.configure()
    before = machine.env.read_bytes()
    done = machine.configure()
    assert machine.env.read_bytes() == before
    assert done.stdout.count("kept from .env") == len(WRITTEN)


def test_a_deleted_line_is_chosen_again(machine: Machine) -> None:
    machine.configure()
    first = machine.values()
    machine.env.write_text("".join(f"{name}={value}\n" for name, value in first.items() if name != "JUPYTER_TOKEN"))
    machine.configure()
    assert machine.values().keys() == first.keys()
    assert machine.values()["JUPYTER_TOKEN"] != first["JUPYTER_TOKEN"]


@pytest.mark.usefixtures("occupied_8888")
def test_a_taken_port_gives_the_next_free_one_and_says_so(machine: Machine) -> None:
    done = machine.configure()
    chosen = int(machine.values()["PORT"])
    assert 8888 < chosen < 8988
    assert "8888 is taken" in done.stdout
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", chosen))


@pytest.mark.usefixtures("occupied_8888")
def test_the_port_of_our_own_running_lab_is_not_taken(machine: Machine) -> None:
    (machine.engine / "ports").write_text("127.0.0.1:8888->8888/tcp\n")
    done = machine.configure()
    assert done.returncode == 0
    assert machine.values()["PORT"] == "8888"


@pytest.mark.usefixtures("occupied_8888")
def test_a_second_make_up_meets_its_own_lab_on_the_port_it_wrote(machine: Machine) -> None:
    (machine.engine / "ports").write_text("127.0.0.1:8888->8888/tcp\n")
    machine.env.write_text("PORT=8888\n")
    assert machine.configure().returncode == 0


@pytest.mark.usefixtures("occupied_8888")
def test_a_port_a_person_set_is_never_exchanged_for_another(machine: Machine) -> None:
    machine.env.write_text("PORT=8888\n")
    refused(machine.configure(), 78, "taken by another program")
    assert machine.env.read_text() == "PORT=8888\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("PORT=eighty", "not a port"),
        ("PORT=0", "not a port"),
        ("PORT=65536", "not a port"),
        ("CA_BUNDLE=/nowhere/ca.pem", "/nowhere/ca.pem"),
        ("JUPYTER_TOKEN=", "JUPYTER_TOKEN"),
        ('JUPYTER_TOKEN=""', "JUPYTER_TOKEN"),
        ("just a word", "line 2"),
        ("2PORT=8888", "line 2"),
        ("PORT=8888\xff", "cannot be read"),
    ],
)
def test_a_line_that_cannot_be_used_is_refused_in_one_line_and_nothing_is_written(
    machine: Machine, line: str, says: str
) -> None:
    machine.env.write_bytes(b"# mine\n" + line.encode("latin-1") + b"\n")
    before = machine.env.read_bytes()
    refused(machine.configure(), 78, says)
    assert machine.env.read_bytes() == before


def test_too_little_disk_is_said_before_the_build(machine: Machine) -> None:
    (machine.engine / "info.json").write_text(json.dumps({"DockerRootDir": "/proc"}))  # a file system with 0 bytes free
    refused(machine.configure(), 69, "GB free")
    assert not machine.env.exists()


def test_an_image_that_is_built_asks_for_no_disk(machine: Machine) -> None:
    (machine.engine / "info.json").write_text(json.dumps({"DockerRootDir": "/proc"}))
    with (machine.engine / "images").open("a") as images:
        images.write("torch-workstation:local\n")
    assert machine.configure().returncode == 0


def test_an_engine_that_does_not_answer_is_one_line(machine: Machine, program: Program) -> None:
    program("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1\n")
    refused(machine.configure(), 69, "does not answer")
    assert not machine.env.exists()


def test_no_docker_at_all_is_one_line(machine: Machine, tmp_path: Path) -> None:
    refused(machine.configure(PATH=str(tmp_path)), 69, "not installed")


def test_the_ca_that_this_shell_trusts_is_the_builds_too(machine: Machine, tmp_path: Path) -> None:
    bundle = tmp_path / "site.pem"
    bundle.touch()
    done = machine.configure(PIP_CERT=str(bundle))
    assert machine.values()["CA_BUNDLE"] == str(bundle)
    assert "$PIP_CERT" in done.stdout


def test_under_sudo_the_person_who_called_owns_the_home_and_the_settings(machine: Machine) -> None:
    machine.configure(SUDO_UID="1234", SUDO_GID="1235")
    assert machine.values()["WORKSTATION_UID"] == "1234"
    assert machine.values()["WORKSTATION_GID"] == "1235"
    assert machine.env.stat().st_uid == (1234 if os.geteuid() == 0 else os.geteuid())


@pytest.mark.parametrize("status", [200, 401])
def test_a_registry_that_answers_gives_nvidias_base(
    machine: Machine, load: Load, monkeypatch: pytest.MonkeyPatch, serve: Serve, status: int
) -> None:
    (machine.engine / "images").write_text("")
    configure = load("configure")
    monkeypatch.setattr(configure, "REGISTRY", serve("/v2/", status, b""))
    assert configure.base_image({}, OURS).value == NVIDIA_BASE


@pytest.mark.parametrize(
    "info", [{"RegistryConfig": {"Mirrors": ["https://mirror.example/"]}}, {"HttpsProxy": "http://proxy.example:3128"}]
)
def test_a_registry_that_only_docker_reaches_gives_nvidias_base(
    machine: Machine, no_registry: ModuleType, info: dict[str, object]
) -> None:
    (machine.engine / "images").write_text("")
    assert no_registry.base_image(info, OURS).value == NVIDIA_BASE


def test_a_machine_that_is_offline_keeps_the_base_it_has_built_from(machine: Machine, no_registry: ModuleType) -> None:
    (machine.engine / "images").write_text(f"{OURS}\n")
    (machine.engine / "base").write_text(f"{NVIDIA_BASE}\n")
    assert no_registry.base_image({}, OURS).value == NVIDIA_BASE


def test_without_a_registry_the_stand_in_is_made(machine: Machine, no_registry: ModuleType) -> None:
    (machine.engine / "images").write_text("")
    maker = machine.root / "scripts" / "base-image"
    maker.write_text('#!/bin/sh\necho "$1" >"$0.asked"\n')
    choice = no_registry.base_image({"RegistryConfig": {"Mirrors": None}, "HttpsProxy": ""}, OURS)
    assert choice.value == maker.with_name("base-image.asked").read_text().strip() == "torch-workstation-base:local"
    assert "no container registry" in choice.why


def test_a_stand_in_that_a_prune_took_is_made_again(machine: Machine) -> None:
    maker = machine.root / "scripts" / "base-image"
    maker.write_text('#!/bin/sh\necho "$1" >>"$0.asked"\n')
    machine.env.write_text("BASE_IMAGE=torch-workstation-base:local\n")
    assert machine.configure().returncode == 0
    (machine.engine / "images").write_text("torch-workstation-base:local\n")
    assert machine.configure().returncode == 0
    assert maker.with_name("base-image.asked").read_text() == "torch-workstation-base:local\n"  # once


def test_a_stand_in_that_fails_stops_with_its_own_code(machine: Machine, no_registry: ModuleType) -> None:
    (machine.engine / "images").write_text("")
    (machine.root / "scripts" / "base-image").write_text("#!/bin/sh\nexit 77\n")
    with pytest.raises(SystemExit) as stopped:
        no_registry.base_image({}, OURS)
    assert stopped.value.code == 77


@pytest.fixture
def no_registry(load: Load, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/configure where no registry answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        unused_port = probe.getsockname()[1]
    configure = load("configure")
    monkeypatch.setattr(configure, "REGISTRY", f"http://127.0.0.1:{unused_port}/v2/")
    return configure
