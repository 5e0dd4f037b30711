"""Commands of docs/troubleshooting.md that a sound machine can try: as the page has them, with the test's own names."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import uuid
from collections.abc import Iterator

import pytest
from lab import START_DEADLINE_S, wait_for
from leftovers import remove_named
from testcontainers.core.docker_client import DockerClient
from throwaway import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"


def command_of_the_page(begins: str, names: dict[str, str]) -> list[str]:
    """The words of the one that begins so; a name of the page inside a word is exchanged, too."""
    text = PAGE.read_text().replace("\\\n", " ")
    (line,) = re.findall(rf"^{begins}.*$", text, re.MULTILINE)
    for old, new in names.items():
        assert old in line
        line = line.replace(old, new)
    return shlex.split(line)


@pytest.fixture
def own() -> Iterator[str]:
    """A name for what the test makes; nothing of that name is left."""
    name = f"torch-workstation-test-{uuid.uuid4().hex[:8]}"
    yield name
    remove_named(name)


def in_project(name: str, image: str, *command: str) -> subprocess.CompletedProcess[str]:
    """As in the repository's root; the variables keep this machine's own Lab and .env out of it."""
    chosen = {"COMPOSE_PROJECT_NAME": name, "COMPOSE_FILE": "docker-compose.yml", "IMAGE": image}
    return subprocess.run(command, cwd=ROOT, env=os.environ | chosen, capture_output=True, text=True, timeout=60)


def test_a_home_of_another_owner_is_given_to_a_new_one(own: str, image: str) -> None:
    give = command_of_the_page("docker compose run", {"UID:GID": "1000:0"})
    # Not empty: Docker gives an empty volume the image's owner at every start.
    filled = "touch /home/workstation/theirs && chown 4711:4711 /home/workstation && chmod 700 /home/workstation"
    taken = in_project(own, image, *give[: give.index("chown")], "sh", "-c", filled)
    assert taken.returncode == 0, taken.stderr
    start = ["docker", "compose", "run", "--rm", "--no-deps", "-T", "workstation"]
    refused = in_project(own, image, *start)
    assert refused.returncode == 73, refused.stdout + refused.stderr
    assert "4711" in refused.stdout + refused.stderr
    returned = in_project(own, image, *give)
    assert returned.returncode == 0, returned.stderr
    written = in_project(own, image, *start, "touch", "/home/workstation/mine", "/cache/mine")
    assert written.returncode == 0, written.stderr


def test_the_lab_runs_on_a_read_only_root(own: str, image: str) -> None:
    words = command_of_the_page("docker run --read-only", {"home:": f"{own}-home:", "IMAGE": image})
    subprocess.run([*words[:2], "--detach", "--name", own, *words[2:]], check=True, capture_output=True)
    container = DockerClient().client.containers.get(own)

    def healthy() -> bool:
        container.reload()
        return bool(container.attrs["State"]["Health"]["Status"] == "healthy")

    wait_for(healthy, "healthy", container=container, deadline_s=START_DEADLINE_S)
    assert container.exec_run(["touch", "/opt/mine"]).exit_code != 0, "the root cannot be written"
    for scratch in ("/tmp", "/cache"):
        loads = f"cp /bin/true {scratch}/kernel && {scratch}/kernel"
        assert container.exec_run(["sh", "-c", loads]).exit_code == 0, "a compiled kernel is loaded from there"
