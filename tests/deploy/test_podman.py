"""The command of docs/deploy/podman.md, as a person without root would type it. It speaks to Podman, never to Docker.

Not run here: SELinux, a GPU, a start at boot.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests
from throwaway import ROOT, require, run

PAGE = ROOT / "docs" / "deploy" / "podman.md"
START_DEADLINE_S = 60


@dataclass(frozen=True)
class PodmanLab:
    name: str
    address: str
    token: str

    def status(self, token: str) -> int:
        headers = {"Authorization": f"token {token}"}
        return requests.get(f"http://{self.address}/api/status", headers=headers, timeout=10).status_code

    def run(self, *command: str) -> str:
        return require("podman", "exec", self.name, *command)


def command_of_the_page() -> list[str]:
    """The words of its `podman run`."""
    block = PAGE.read_text().partition("```sh\n")[2].partition("```")[0].replace("\\\n", " ")
    (line,) = re.findall(r"^podman run .*--name lab .*$", block, re.MULTILINE)
    return shlex.split(line)


@pytest.fixture(scope="module")
def started(image: str) -> Iterator[PodmanLab]:
    """With names and a port of the test's own, and in the background."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed: apt-get install podman uidmap slirp4netns")
    if os.geteuid() == 0:
        pytest.skip("the page is about Podman without root, and this is root")
    if run("podman", "image", "exists", image).returncode != 0:
        pytest.skip(f"Podman has no image {image}: docker save {image} | podman load")
    own = f"torch-workstation-test-{uuid.uuid4().hex[:8]}"
    words = [
        {
            "lab": own,
            "torch-workstation:local": image,
            "127.0.0.1:8888:8888": "127.0.0.1::8888",
            "--rm": "--detach",
        }.get(word, re.sub(r"^lab-", f"{own}-", word))
        for word in command_of_the_page()
    ]
    try:
        require(*words)
        address = require("podman", "port", own, "8888/tcp").strip()
        yield PodmanLab(own, address, _token(own, address))
    finally:
        run("podman", "rm", "--force", "--time", "0", own)
        run("podman", "volume", "rm", "--force", f"{own}-home", f"{own}-cache")


def _token(name: str, address: str) -> str:
    """From the link in the log, once the Lab answers."""
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        try:
            requests.get(f"http://{address}/api", timeout=5).raise_for_status()
        except requests.RequestException:
            time.sleep(0.2)
            continue
        return require("podman", "logs", name).partition("?token=")[2].split()[0]
    raise AssertionError(f"no Lab within {START_DEADLINE_S} s:\n{require('podman', 'logs', name)}")


def test_the_lab_opens_with_the_printed_token_on_the_loopback_alone(started: PodmanLab) -> None:
    assert started.address.startswith("127.0.0.1:")
    assert (started.status(started.token), started.status("wrong")) == (200, 403)


def test_it_is_the_images_user_without_a_capability(started: PodmanLab) -> None:
    assert started.run("id", "--user").strip() == "1000"
    said = started.run("grep", "--extended-regexp", "CapEff|NoNewPrivs", "/proc/self/status").split()
    assert said == ["CapEff:", "0" * 16, "NoNewPrivs:", "1"]


def test_home_cache_and_shared_memory_are_as_the_page_says(started: PodmanLab) -> None:
    written = "touch /home/workstation/mine /cache/mine && df --output=size --block-size=1G /dev/shm"
    assert started.run("sh", "-c", written).split()[-1] == "2"
    volumes = require("podman", "volume", "ls", "--quiet").split()
    assert {f"{started.name}-home", f"{started.name}-cache"} <= set(volumes)


def test_the_doctor_finds_nothing_that_fails(started: PodmanLab) -> None:
    assert " 0 FAIL" in started.run("workstation-start", "workstation", "doctor")
