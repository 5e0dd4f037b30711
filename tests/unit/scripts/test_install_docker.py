"""scripts/install-docker: what is installed where, and that a working installation is never touched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

Load = Callable[[str], ModuleType]
Program = Callable[[str, str], Path]
Serve = Callable[[str, int, bytes], str]

DEBIAN_12 = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_CODENAME=bookworm\n'
DEBIAN_13 = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_CODENAME=trixie\n'
UBUNTU_24 = 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n'
FEDORA = 'PRETTY_NAME="Fedora Linux 43"\nID=fedora\n'

DEBIANS_OWN = ["docker.io", "docker-cli", "docker-buildx", "docker-compose", "containerd"]
UBUNTUS_OWN = ["docker.io", "docker-buildx", "docker-compose-v2", "containerd"]
DOCKERS_OWN = ["docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "docker-compose-plugin"]

APT_GET = """
if [ "$1" = indextargets ]; then
    echo 'http://mirror.example/debian/ bookworm'
    echo 'http://mirror.example/security/ bookworm-security'
else
    echo "$@" >>"$here/apt-get.ran"
fi
"""


@dataclass(frozen=True)
class Bare:
    """A machine without Docker; apt's and the engine's settings are in a folder, `apt-get` notes its arguments."""

    script: ModuleType
    root: Path
    programs: Path

    def is_a(self, release: str) -> None:
        (self.root / "os-release").write_text(release)

    def installed(self) -> list[str]:
        ran = self.programs / "apt-get.ran"
        return ran.read_text().splitlines()[-1].split("--no-install-recommends ")[1].split() if ran.exists() else []

    def written(self) -> set[str]:
        files = (file for file in self.root.rglob("*") if file.is_file())
        return {str(file.relative_to(self.root)) for file in files} - {"os-release"}


@pytest.fixture
def bare(load: Load, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bare:
    script, root = load("install-docker"), tmp_path / "etc"
    for folder in ("apt/sources.list.d", "apt/preferences.d", "apt/keyrings"):
        (root / folder).mkdir(parents=True)
    monkeypatch.setattr(script, "APT", root / "apt")
    monkeypatch.setattr(script, "OS_RELEASE", root / "os-release")
    monkeypatch.setattr(script, "DAEMON_SETTINGS", root / "docker" / "daemon.json")
    monkeypatch.setattr(script, "DOCKER_REPOSITORY", "http://127.0.0.1:1")  # nothing listens there
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    programs = program("apt-get", APT_GET)
    (programs / "dirname").symlink_to("/usr/bin/dirname")
    monkeypatch.setenv("PATH", str(programs))  # not this machine's own Docker
    return Bare(script, root, programs)


@pytest.mark.parametrize(
    ("release", "packages"),
    [(DEBIAN_12, DEBIANS_OWN), (DEBIAN_13, DEBIANS_OWN), (UBUNTU_24, UBUNTUS_OWN)],
    ids=["debian-12", "debian-13", "ubuntu-24.04"],
)
def test_where_docker_com_cannot_be_reached_the_distributions_packages_are_installed(
    bare: Bare, release: str, packages: list[str]
) -> None:
    bare.is_a(release)
    bare.script.install(["docker", "dockerd", "buildx", "compose"])
    assert bare.installed() == packages


@pytest.fixture
def docker_com(
    bare: Bare, program: Program, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], str]:
    """Docker's own package repository, on this machine: docker_com(system, codename) gives its URL."""
    program("dpkg", "echo amd64\n")

    def hold(system: str, codename: str) -> str:
        url = serve(f"/{system}/gpg", 200, b"a key").removesuffix(f"/{system}/gpg")
        serve(f"/{system}/dists/{codename}/Release", 200, b"")
        monkeypatch.setattr(bare.script, "DOCKER_REPOSITORY", url)
        return url

    return hold


@pytest.mark.parametrize(
    ("release", "suite"),
    [(DEBIAN_12, "debian bookworm"), (DEBIAN_13, "debian trixie"), (UBUNTU_24, "ubuntu noble")],
    ids=["debian-12", "debian-13", "ubuntu-24.04"],
)
def test_where_it_can_its_own_repository_is_added_with_a_key_of_its_own(
    bare: Bare, docker_com: Callable[[str, str], str], release: str, suite: str
) -> None:
    bare.is_a(release)
    system, codename = suite.split()
    url = docker_com(system, codename)
    bare.script.install(["docker"])
    key = bare.root / "apt" / "keyrings" / "docker.asc"
    assert bare.installed() == DOCKERS_OWN
    assert key.read_bytes() == b"a key"
    source = (bare.root / "apt" / "sources.list.d" / "docker.list").read_text()
    assert source == f"deb [arch=amd64 signed-by={key}] {url}/{system} {codename} stable\n"
    assert not list((bare.root / "apt" / "preferences.d").iterdir())


def test_debian_12_takes_those_five_packages_from_debian_13_and_no_other(bare: Bare) -> None:
    bare.is_a(DEBIAN_12)
    bare.script.install(["docker"])
    stanzas = (bare.root / "apt" / "preferences.d" / "docker-from-trixie").read_text().split("\n\n")
    pins = [dict(line.split(": ", 1) for line in stanza.strip().splitlines()) for stanza in stanzas]
    everything, ours = pins
    assert everything == {"Package": "*", "Pin": "release n=trixie*", "Pin-Priority": "100"}
    assert ours["Package"].split() == DEBIANS_OWN
    assert int(ours["Pin-Priority"]) > 500  # a package of the running release has 500


def test_debian_13s_packages_come_from_the_mirror_this_machine_uses(bare: Bare) -> None:
    bare.is_a(DEBIAN_12)
    bare.script.install(["docker"])
    source = (bare.root / "apt" / "sources.list.d" / "docker-from-trixie.sources").read_text()
    assert "URIs: http://mirror.example/debian/\nSuites: trixie trixie-updates\n" in source
    assert "URIs: http://mirror.example/security/\nSuites: trixie-security\n" in source


@pytest.mark.parametrize("release", [DEBIAN_13, UBUNTU_24], ids=["debian-13", "ubuntu-24.04"])
def test_a_newer_system_is_not_pinned(bare: Bare, release: str) -> None:
    bare.is_a(release)
    bare.script.install(["docker"])
    assert bare.written() == set()


def test_an_unknown_system_is_told_what_to_install_and_left_as_it_is(
    bare: Bare, capsys: pytest.CaptureFixture[str]
) -> None:
    bare.is_a(FEDORA)
    with pytest.raises(SystemExit) as stopped:
        bare.script.install(["docker", "dockerd"])
    assert stopped.value.code == 78
    says = capsys.readouterr().err
    assert len(says.splitlines()) == 1
    assert "Fedora Linux 43" in says
    assert "Docker Engine >= 25 with buildx and Compose v2" in says
    assert bare.written() == set()
    assert bare.installed() == []


def test_without_root_one_line_says_how(
    bare: Bare, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare.is_a(DEBIAN_12)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit) as stopped:
        bare.script.install(["docker", "dockerd"])
    assert stopped.value.code == 77
    assert capsys.readouterr().err.splitlines() == [
        "install-docker: not root, and docker, dockerd missing. Run: sudo scripts/install-docker"
    ]
    assert bare.written() == set()
    assert bare.installed() == []


def test_a_package_that_cannot_be_installed_stops_with_69(bare: Bare, program: Program) -> None:
    bare.is_a(DEBIAN_13)
    program("apt-get", "exit 100\n")
    with pytest.raises(SystemExit) as stopped:
        bare.script.install(["docker"])
    assert stopped.value.code == 69


def test_a_fresh_engine_keeps_the_build_cache(bare: Bare) -> None:
    bare.is_a(DEBIAN_13)
    bare.script.install(["docker", "dockerd"])
    settings = json.loads((bare.root / "docker" / "daemon.json").read_text())
    assert settings == {"builder": {"gc": {"enabled": True, "defaultKeepStorage": "40GB"}}}


def test_settings_of_the_engine_that_are_there_stay(bare: Bare) -> None:
    bare.is_a(DEBIAN_13)
    settings = bare.root / "docker" / "daemon.json"
    settings.parent.mkdir()
    settings.write_text('{"data-root": "/data/docker"}')
    bare.script.install(["docker", "dockerd"])
    assert settings.read_text() == '{"data-root": "/data/docker"}'


@dataclass(frozen=True)
class Half:
    """A machine on which somebody installed Docker, but not all of it."""

    release: str
    owner: str  # of dockerd
    missing: list[str]
    adds: list[str]


@pytest.mark.parametrize(
    "half",
    [
        Half(UBUNTU_24, "docker.io", ["buildx", "compose"], ["docker-buildx", "docker-compose-v2"]),
        Half(UBUNTU_24, "docker-ce", ["compose"], ["docker-compose-plugin"]),
        Half(DEBIAN_13, "docker.io", ["docker", "buildx"], ["docker-cli", "docker-buildx"]),
        Half(DEBIAN_12, "docker-ce", ["buildx"], ["docker-buildx-plugin"]),
    ],
    ids=["ubuntus", "dockers-on-ubuntu", "debians", "dockers-on-debian"],
)
def test_what_an_engine_lacks_comes_from_its_own_packager_and_nothing_else_is_touched(
    bare: Bare, docker_com: Callable[[str, str], str], program: Program, half: Half
) -> None:
    bare.is_a(half.release)
    docker_com("ubuntu", "noble")
    docker_com("debian", "trixie")
    program("dockerd", "")
    program("dpkg-query", f"echo '{half.owner}: /usr/bin/dockerd'\n")
    bare.script.install(half.missing)
    assert bare.installed() == half.adds
    assert bare.written() == set()


def test_a_docker_of_no_package_is_left_to_who_put_it_there(
    bare: Bare, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    bare.is_a(UBUNTU_24)
    program("docker", "")
    program("dpkg-query", "echo 'dpkg-query: no path found' >&2; exit 1\n")
    with pytest.raises(SystemExit) as stopped:
        bare.script.install(["compose"])
    assert stopped.value.code == 69
    assert "compose missing. Install that the way Docker was installed here" in capsys.readouterr().err
    assert bare.installed() == []


def test_a_system_that_does_not_say_what_it_is_is_an_unknown_one(
    bare: Bare, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS has no os-release."""
    maker = load("base-image")
    monkeypatch.setattr(maker, "OS_RELEASE", bare.root / "os-release")
    for ask in (lambda: bare.script.install(["dockerd"]), maker.host_system):
        with pytest.raises(SystemExit) as stopped:
            ask()
        assert stopped.value.code == 78


def engine(version: str) -> str:
    return f'case "$*" in "version --format"*) echo {version} ;; esac\n'


def test_a_working_installation_is_left_alone(
    bare: Bare, program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program("docker", engine("25.0.0"))
    monkeypatch.setattr("sys.argv", ["install-docker"])
    bare.script.main()
    assert "Docker Engine 25.0.0 with buildx and Compose is ready" in capsys.readouterr().out
    assert bare.written() == set()
    assert bare.installed() == []


@pytest.mark.parametrize("lacks", ["nothing", "compose"])
def test_an_old_engine_is_refused_and_left_as_it_is(
    bare: Bare, program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lacks: str
) -> None:
    program("docker", f'[ "$1" != {lacks} ] || exit 1\n{engine("24.0.9")}')
    monkeypatch.setattr("sys.argv", ["install-docker"])
    with pytest.raises(SystemExit) as stopped:
        bare.script.main()
    assert stopped.value.code == 69
    assert "24.0.9 is too old" in capsys.readouterr().err
    assert bare.installed() == []


def test_a_daemon_that_ends_is_not_waited_for(
    bare: Bare, program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program("docker", "exit 1")  # no daemon answers it
    program("dockerd", "exit 3")
    monkeypatch.setattr(bare.script, "SYSTEMD", bare.root / "no-systemd")
    monkeypatch.setattr(bare.script, "DAEMON_LOG", bare.root / "dockerd.log")
    with pytest.raises(SystemExit) as stopped:
        bare.script.start_daemon()
    assert stopped.value.code == 69
    assert "dockerd ended with exit code 3" in capsys.readouterr().err
