""".devcontainer: the dev containers' own CLI starts it, in front of a folder that stands for the repository.

Not run here: an editor.
"""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from docker.models.containers import Container
from lab import START_DEADLINE_S, wait_for
from testcontainers.core.docker_client import DockerClient
from throwaway import ROOT, node_modules, require

SHIPPED = ROOT / ".devcontainer" / "devcontainer.json"
VOLUME = "torch-workstation-devcontainer"
ENGINE = Path("/var/run/docker.sock")
PERSON = os.geteuid() or 12345  # whose number the image does not know


@dataclass(frozen=True)
class DevContainer:
    folder: Path
    container: Container

    def run(self, command: str) -> str:
        """As a terminal of the editor would."""
        return devcontainer("exec", self.folder, "bash", "-c", command)


def devcontainer(verb: str, folder: Path, *arguments: str) -> str:
    command = (node_modules() / "devcontainer", verb, "--workspace-folder", folder, *arguments)
    return require(*as_a_person(folder.parent), *command)


def as_a_person(home: Path) -> list[str]:
    """By root, the CLI leaves the image's user as it is; everybody else's UID it gives to him."""
    if os.geteuid() != 0:
        return []
    named = home / "bin" / "id"  # it asks `id` for a name, and ends where the machine knows none
    named.parent.mkdir(exist_ok=True)
    named.write_text("#!/bin/sh\necho person\n")
    named.chmod(0o755)
    ids = [f"--reuid={PERSON}", f"--regid={PERSON}", f"--groups={ENGINE.stat().st_gid}"]
    return ["setpriv", *ids, "env", f"HOME={home}", f"PATH={named.parent}:{os.environ['PATH']}"]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Not one of pytest's folders, which root alone enters."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def opened(image: str, home: Path) -> Iterator[DevContainer]:
    """The shipped file, with the image under test and volumes of the test's own."""
    folder, client = home / "repository", DockerClient().client
    own = f"torch-workstation-test-{uuid.uuid4().hex[:8]}"
    text = SHIPPED.read_text()
    assert '"torch-workstation:local"' in text
    (folder / ".devcontainer").mkdir(parents=True)
    (folder / ".devcontainer" / SHIPPED.name).write_text(
        text.replace('"torch-workstation:local"', json.dumps(image)).replace(VOLUME, own)
    )
    for path in (home, folder, folder / ".devcontainer"):
        os.chown(path, PERSON, -1)
    try:
        started = json.loads(devcontainer("up", folder).splitlines()[-1])
        assert started["outcome"] == "success"
        yield DevContainer(folder, client.containers.get(started["containerId"]))
    finally:
        for container in client.containers.list(
            all=True, ignore_removed=True, filters={"label": f"devcontainer.local_folder={folder}"}
        ):
            made_for_this_user = container.image
            container.remove(force=True)
            if made_for_this_user.id != client.images.get(image).id:
                client.images.remove(made_for_this_user.id)
        for volume in client.volumes.list(filters={"name": own}):
            volume.remove(force=True)


def test_a_terminal_is_in_the_repository_with_the_images_python(opened: DevContainer) -> None:
    seen = opened.run("command -v python && ls -a && test -w . && echo writable").splitlines()
    assert seen[0] == "/opt/venv/bin/python"
    assert {".devcontainer", "writable"} <= set(seen)


def test_the_doctor_finds_nothing_that_fails(opened: DevContainer) -> None:
    assert " 0 FAIL" in devcontainer("exec", opened.folder, "workstation", "doctor")


def test_the_lab_runs_beside_the_editor(opened: DevContainer) -> None:
    wait_for(lambda: healthy(opened.container), "the Lab", container=opened.container, deadline_s=START_DEADLINE_S)


def healthy(container: Container) -> bool:
    container.reload()
    return bool(container.attrs["State"]["Health"]["Status"] == "healthy")


def test_the_lab_and_the_editor_are_the_person_whose_folder_it_is(opened: DevContainer) -> None:
    """Otherwise the editor cannot save a notebook of the home, nor the Lab one of the repository."""
    lab = opened.container.exec_run("id --user").output.decode()  # as the container's user, who runs the Lab
    assert (lab, opened.run("id --user")) == (f"{PERSON}\n", f"{PERSON}\n")
    where = opened.run("pwd").strip()
    assert opened.container.exec_run(["touch", f"{where}/by-the-lab"]).exit_code == 0
    assert opened.run("echo >> by-the-lab && test -O ~/notebooks && echo mine") == "mine\n"


def test_little_is_allowed_and_shared_memory_is_enough(opened: DevContainer) -> None:
    host = opened.container.attrs["HostConfig"]
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
    assert host["ShmSize"] >= 2**30
    assert not host["PortBindings"], "the editor forwards the port"


def test_the_home_is_a_volume(opened: DevContainer) -> None:
    assert {"/home/workstation", "/cache"} <= {mount["Destination"] for mount in opened.container.attrs["Mounts"]}
