"""deploy/skypilot: read by SkyPilot itself, and what its containers run, run here.

Not run here: a cloud, SkyPilot's own installation inside the container, a GPU.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from lab import Ran, run
from throwaway import DEPLOY, ROOT, TOOLS, require, venv

FOLDER = DEPLOY / "skypilot"
TASKS = sorted(path.name for path in FOLDER.glob("*.yaml"))
BROKEN = {
    "key": ("num_nodes: 2", "num_node: 2"),
    "prefix": ("docker:registry", "dcoker:registry"),
    "option": ("run_options", "run_option"),
}
Task = dict[str, Any]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    """By the file's name: those that are shipped, and train.yaml broken in one place each. One start of SkyPilot."""
    scratch = tmp_path_factory.mktemp("skypilot")
    files = [FOLDER / name for name in TASKS]
    text = (FOLDER / "train.yaml").read_text()
    for name, (right, wrong) in BROKEN.items():
        assert right in text
        files.append(scratch / name)
        files[-1].write_text(text.replace(right, wrong))
    python = venv("skypilot", TOOLS / "skypilot.txt") / "python"
    # A home of its own: SkyPilot keeps a state there, and looks there for clouds' credentials.
    said = require(python, "-W", "ignore", TOOLS / "read_task.py", *files, environment={"HOME": str(scratch)}, cwd=ROOT)
    read: dict[str, Task] = json.loads(said.splitlines()[-1])
    return {Path(file).name: task for file, task in read.items()}


@pytest.mark.parametrize("name", TASKS)
def test_skypilot_reads_the_task_and_runs_it_in_the_image(tasks: dict[str, Task], name: str) -> None:
    assert tasks[name].get("image") == "registry.example.com/torch-workstation:0.1.0", tasks[name]
    assert tasks[name]["accelerators"]
    assert tasks[name]["setup"] == "workstation doctor --require-gpu", "an old driver stops the launch"


def test_a_misspelled_docker_prefix_is_seen(tasks: dict[str, Task]) -> None:
    """SkyPilot takes it for the name of a VM's image, and would boot that."""
    assert "refused" not in tasks["prefix"]
    assert tasks["prefix"]["image"] is None


@pytest.mark.parametrize(("broken", "named"), [("key", "num_node"), ("option", "run_option")])
def test_skypilot_refuses_a_broken_task(tasks: dict[str, Task], broken: str, named: str) -> None:
    assert named in tasks[broken]["refused"]


def test_the_lab_listens_on_the_loopback_alone(tasks: dict[str, Task]) -> None:
    """SkyPilot gives the container the VM's own network."""
    assert "--ServerApp.ip=127.0.0.1" in tasks["lab.yaml"]["run"]


OPEN_THE_LAB = """
import stat, time, urllib.error, urllib.request
from pathlib import Path

def status(token):
    request = urllib.request.Request("http://127.0.0.1:8888/api/status", headers={"Authorization": f"token {token}"})
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as refused:
        return refused.code

for _ in range(120):
    try:
        status("wrong")
        break
    except OSError:
        time.sleep(0.5)
file = Path.home() / ".lab-token"
token = file.read_text().strip()
print("asked:", status(token), status("wrong"), oct(file.stat().st_mode & 0o777), token in Path("/tmp/log").read_text())
"""


def test_the_labs_token_is_on_the_vm_and_not_in_the_log(image: str, tasks: dict[str, Task]) -> None:
    """SkyPilot keeps the log, on a server that people may share; the token is fetched by SSH."""
    task = tasks["lab.yaml"]
    both = f"bash -c {shlex.quote(task['run'])} > /tmp/log 2>&1 & python -c {shlex.quote(OPEN_THE_LAB)}; cat /tmp/log"
    ended = as_skypilot_starts(image, task, both)
    assert "asked: 200 403 0o600 False" in ended.output, ended.output


@pytest.mark.parametrize("name", TASKS)
def test_every_mounted_file_is_there(tasks: dict[str, Task], name: str) -> None:
    """SkyPilot asks only when it launches. Paths start at the repository."""
    assert [local for local in (tasks[name]["file_mounts"] or {}).values() if not (ROOT / local).is_file()] == []


def test_the_job_spans_nodes(tasks: dict[str, Task]) -> None:
    assert tasks["train.yaml"]["nodes"] == 2


@pytest.mark.parametrize("name", TASKS)
def test_a_login_finds_its_keys_and_the_images_programs(image: str, tasks: dict[str, Task], name: str) -> None:
    """SkyPilot writes keys to ~/.ssh by `docker exec`, the environment to /etc/profile.d, then comes by SSH as root."""
    login = (
        'test "$(whoami) $HOME" = "root $(getent passwd root | cut -d: -f6)" || exit 3; mkdir -p ~/.ssh || exit 4;'
        "export -p > /etc/profile.d/container_env_var.sh;"
        'env -i HOME="$HOME" bash --login -c "workstation --help >/dev/null && command -v torchrun"'
    )
    assert as_skypilot_starts(image, tasks[name], login).output == "/opt/venv/bin/torchrun\n"


def test_the_jobs_command_forms_on_two_nodes(image: str, tasks: dict[str, Task]) -> None:
    """Both in one container; SkyPilot's variables say what they would on two VMs."""
    command = shlex.quote(tasks["train.yaml"]["run"])
    both = f"SKYPILOT_NODE_RANK=1 bash -c {command} & SKYPILOT_NODE_RANK=0 bash -c {command} && wait $!"
    given = {
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.1",
        "SKYPILOT_NUM_GPUS_PER_NODE": "1",
        "SKYPILOT_TASK_ID": "a-task",
        "OMP_NUM_THREADS": "1",
    }
    ended = as_skypilot_starts(image, tasks["train.yaml"], both, given)
    assert ended.code == 0, ended.output
    assert "2 ranks on cpu: the sum is right" in ended.output, ended.output


def as_skypilot_starts(image: str, task: Task, command: str, given: dict[str, str] | None = None) -> Ran:
    """With the task's own options for `docker run`, and its files."""
    options = dict(option.removeprefix("--").split("=", 1) for option in task["run_options"])
    name, value = options["env"].split("=")
    mounted = (task["file_mounts"] or {}).items()
    return run(
        image,
        *("-c", command),
        entrypoint="/bin/bash",
        user=options["user"],
        environment={name: value, **(given or {})},
        volumes={str(ROOT / local): {"bind": remote, "mode": "ro"} for remote, local in mounted},
    )
