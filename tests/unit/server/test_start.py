"""The launcher, run for real: a directory stands for the virtual environment, and a script in it for Jupyter."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "src"
SHOW = """#!/bin/sh
printf '%s\\n' "$@" >"$RESULT.arguments"
env -0 >"$RESULT.environment"
stat -c %a "$JUPYTER_RUNTIME_DIR" >"$RESULT.mode"
"""
LAUNCH = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from workstation.server.start import main; main()"


class Container:
    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        self.home = root / "home"
        self.result = root / "result"
        self.bin.mkdir()
        self.home.mkdir()
        (self.bin / "python").symlink_to(sys.executable)
        for program in ("jupyter-lab", "jupyterhub-singleuser"):
            (self.bin / program).write_text(SHOW)
            (self.bin / program).chmod(0o755)

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / "python", "-c", LAUNCH, *arguments],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.home), "RESULT": str(self.result), **environ},
            check=False,
            timeout=60,
        )

    def arguments(self) -> list[str]:
        return Path(f"{self.result}.arguments").read_text().splitlines()

    def environment(self) -> dict[str, str]:
        pairs = Path(f"{self.result}.environment").read_text().split("\0")
        return dict(pair.split("=", 1) for pair in pairs if pair)


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


@pytest.fixture
def port() -> str:
    with socket.create_server(("", 0)) as free:
        return str(free.getsockname()[1])


def test_no_arguments_become_jupyter_lab_with_a_clickable_link(container: Container, port: str) -> None:
    done = container.run(JUPYTER_PORT=port)
    assert done.returncode == 0, done.stderr
    link = re.search(rf"http://127\.0\.0\.1:{port}/lab\?token=([0-9a-f]{{48}})\n", done.stdout)
    assert link, done.stdout
    assert container.environment()["JUPYTER_TOKEN"] == link[1]
    assert container.arguments() == [
        f"--ServerApp.port={port}",
        "--ServerApp.base_url=/",
        "--ServerApp.jpserver_extensions=workstation.server.gate=True",
    ]


def test_the_doctors_summary_comes_before_the_link(container: Container, port: str) -> None:
    lines = container.run(JUPYTER_PORT=port).stdout.splitlines()
    subjects = [line.split()[0] for line in lines if line.strip()]
    assert subjects[0] == "software"
    assert subjects[-1].startswith("http://")


def test_options_go_to_jupyter_lab(container: Container, port: str) -> None:
    container.run("--debug", JUPYTER_PORT=port)
    assert container.arguments()[-1] == "--debug"


def test_the_runtime_directory_is_fresh_private_and_not_in_the_home(container: Container, port: str) -> None:
    container.run(JUPYTER_PORT=port)
    first = container.environment()["JUPYTER_RUNTIME_DIR"]
    assert Path(f"{container.result}.mode").read_text() == "700\n"
    assert not Path(first).is_relative_to(container.home)
    container.run(JUPYTER_PORT=port)
    assert container.environment()["JUPYTER_RUNTIME_DIR"] != first


def test_a_command_becomes_that_command_and_nothing_else_happens(container: Container) -> None:
    done = container.run("sh", "-c", "echo $USER $MKL_NUM_THREADS $HOME", WORKSTATION_NO_SUCH="x", OMP_NUM_THREADS="1")
    assert re.fullmatch(rf"\S+ 1 {container.home}\n", done.stdout)
    assert done.stderr == ""
    assert list(container.home.iterdir()) == []


def test_a_commands_exit_status_is_the_containers(container: Container) -> None:
    assert container.run("sh", "-c", "exit 42").returncode == 42


def test_a_command_that_is_not_there_is_one_line(container: Container) -> None:
    done = container.run("no-such-command")
    assert done.returncode == 127
    assert done.stderr.count("\n") == 1
    assert "no-such-command cannot be run: No such file or directory" in done.stderr


def test_a_broken_pipe_ends_a_command_in_silence(container: Container) -> None:
    done = container.run("bash", "-c", "yes | head -n 1")
    assert (done.stdout, done.stderr) == ("y\n", "")


def test_a_hub_gets_its_single_user_server_with_the_spawners_arguments(container: Container) -> None:
    hub = {"JUPYTERHUB_API_TOKEN": "t", "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8888/user/ada/"}
    done = container.run("jupyterhub-singleuser", "--debug", **hub)
    assert done.returncode == 0, done.stderr
    assert container.arguments() == ["--debug"]
    assert "http://" not in done.stdout


def test_a_secret_token_is_handed_on_and_not_printed(container: Container, port: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush-hush\n")
    done = container.run(JUPYTER_PORT=port, JUPYTER_TOKEN_FILE=str(secret))
    assert "hush-hush" not in done.stdout + done.stderr + " ".join(container.arguments())
    assert container.environment()["JUPYTER_TOKEN"] == "hush-hush"


@pytest.mark.parametrize(
    ("environ", "code", "says"),
    [
        ({"JUPYTER_PORT": "eighty"}, 2, "JUPYTER_PORT is 'eighty', not a port"),
        ({"JUPYTER_TOKEN": ""}, 2, "JUPYTER_TOKEN is empty"),
        ({"WORKSTATION_TLS_CERTIFICATE": "/no.pem", "WORKSTATION_TLS_KEY": "/no.key"}, 2, "/no.pem cannot be read"),
        ({"WORKSTATION_COLOUR": "blue"}, 2, "WORKSTATION_COLOUR is not a setting"),
        ({"WORKSTATION_HOOKS": "/nowhere"}, 2, "/nowhere cannot be read"),
        ({"HOME": "/nowhere"}, 73, "the home /nowhere is not there"),
    ],
)
def test_bad_input_is_one_clear_line_and_its_own_exit_code(
    container: Container, port: str, environ: dict[str, str], code: int, says: str
) -> None:
    done = container.run(**{"JUPYTER_PORT": port, **environ})
    assert done.returncode == code
    assert done.stderr.count("\n") == 1, done.stderr
    assert says in done.stderr
    assert done.stdout == ""
    assert not Path(f"{container.result}.arguments").exists(), "the server was started all the same"


def test_a_failing_hook_stops_the_start_and_is_named(container: Container, port: str, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "10-mount.sh").write_text("exit 5\n")
    done = container.run(JUPYTER_PORT=port, WORKSTATION_HOOKS=str(hooks))
    assert done.returncode == 70
    assert f"{hooks}/10-mount.sh failed with status 5" in done.stderr
    assert not Path(f"{container.result}.arguments").exists()


@pytest.mark.parametrize(
    "module", ["workstation.server.start, workstation.doctor.summary", "workstation.server.healthcheck"]
)
def test_nothing_heavy_is_imported_on_the_way(module: str) -> None:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.split())
    assert "workstation" in imported
    assert not imported & {"torch", "numpy", "rich", "jupyter_core", "jupyter_server", "traitlets", "cryptography"}
