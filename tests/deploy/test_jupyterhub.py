"""deploy/jupyterhub: a real Hub on this machine logs people in and gives each a container of the image."""

from __future__ import annotations

import os
import re
import runpy
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import requests
from docker.models.containers import Container
from lab import run
from leftovers import remove_named
from testcontainers.core.docker_client import DockerClient
from throwaway import DEPLOY, ROOT, node_modules, venv

FOLDER = DEPLOY / "jupyterhub"
PASSWORD = "a-password-for-tests"
DEADLINE_S = 180


@dataclass(frozen=True)
class Hub:
    url: str
    network: str
    log: Path

    def log_in(self, name: str, password: str = PASSWORD) -> requests.Session:
        """A browser that has filled in the form; whether it was let in is in its cookies."""
        browser = requests.Session()
        browser.get(f"{self.url}/hub/login", timeout=30)
        form = {"username": name, "password": password, "_xsrf": browser.cookies.get("_xsrf", path="/hub/")}
        browser.post(f"{self.url}/hub/login", data=form, timeout=30, allow_redirects=False)
        return browser

    def get(self, browser: requests.Session, path: str) -> requests.Response:
        return browser.get(f"{self.url}{path}", timeout=60)

    def container(self, name: str) -> Container:
        return DockerClient().client.containers.get(f"{self.network}-{name}")

    def wait_for(self, answer: Any, what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not answer():
            assert time.monotonic() < deadline, f"{what}: not within {DEADLINE_S} s\n{self.log.read_text()[-4000:]}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def hub(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder, network = tmp_path_factory.mktemp("hub"), f"torch-workstation-test-{uuid.uuid4().hex[:8]}"
    front, proxy_api, hub_port = free_ports(3)
    programs = venv("jupyterhub", FOLDER / "requirements.txt")
    environment = os.environ | {
        "PATH": f"{programs}:{node_modules()}:{os.environ['PATH']}",
        "SHIPPED": str(FOLDER / "jupyterhub_config.py"),
        "IMAGE": image,
        "NETWORK": network,
        "MEMORY": "4G",
        "PASSWORD": PASSWORD,
        "BIND_URL": f"http://127.0.0.1:{front}",
        "PROXY_API": f"http://127.0.0.1:{proxy_api}",
        "HUB_PORT": str(hub_port),
    }
    command = [programs / "jupyterhub", "--config", Path(__file__).with_name("hub_for_tests.py")]
    running = Hub(f"http://127.0.0.1:{front}", network, folder / "log")
    with running.log.open("w") as log:
        process = subprocess.Popen(
            [programs / command[0], *command[1:]], cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        running.wait_for(lambda: process.poll() is not None or healthy(running), "the Hub answers")
        assert process.poll() is None, running.log.read_text()
        yield running
    finally:
        process.terminate()
        process.wait(timeout=60)
        remove_named(network)


def healthy(hub: Hub) -> bool:
    try:
        return requests.get(f"{hub.url}/hub/health", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]
    finally:
        for free in sockets:
            free.close()


@pytest.fixture(scope="module")
def ada(hub: Hub) -> requests.Session:
    """Logged in, her server started, and let in there: the Hub and her server exchange what they must on the way."""
    browser = hub.log_in("ada")
    hub.get(browser, "/hub/spawn")
    hub.wait_for(lambda: at_the_lab(hub, browser), "ada's Lab opens")
    return browser


def at_the_lab(hub: Hub, browser: requests.Session) -> bool:
    opened = hub.get(browser, "/user/ada/lab")
    assert opened.status_code < 500, hub.log.read_text()[-4000:]
    return opened.status_code == 200 and "/user/ada/lab" in opened.url


def test_a_person_logs_in_and_works_in_the_lab(hub: Hub, ada: requests.Session) -> None:
    assert "JupyterLab" in hub.get(ada, "/user/ada/lab").text
    notebooks = hub.get(ada, "/user/ada/api/contents/notebooks").json()["content"]
    assert any(entry["name"].endswith(".ipynb") for entry in notebooks), "the examples are in her home"


def test_her_container_is_the_image_with_little_allowed(hub: Hub, ada: requests.Session, image: str) -> None:
    del ada  # her server runs
    container = hub.container("ada")
    host = container.attrs["HostConfig"]
    assert container.image.id == DockerClient().client.images.get(image).id
    assert container.exec_run(["id", "-u"]).output == b"1000\n"
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges:true"])
    assert host["ShmSize"] >= 2**30
    assert {binding["HostIp"] for bindings in host["PortBindings"].values() for binding in bindings} == {"127.0.0.1"}


def test_models_and_compiled_kernels_outlive_her_container(hub: Hub, ada: requests.Session) -> None:
    del ada
    container = hub.container("ada")
    volumes = {mount["Destination"]: mount["Name"] for mount in container.attrs["Mounts"]}
    assert volumes == {"/home/workstation": f"{hub.network}-ada", "/cache": f"{hub.network}-ada.cache"}
    assert container.exec_run(["touch", "/cache/mine"]).exit_code == 0


# Seen from a container on NETWORK: exits 0 where ADDRESS answers, 3 where nothing comes back.
KNOCK = "import socket, sys\ntry: socket.create_connection((sys.argv[1], 8888), 5)\nexcept OSError: sys.exit(3)"


def test_the_next_persons_container_does_not_reach_hers(hub: Hub, ada: requests.Session, image: str) -> None:
    del ada
    client = DockerClient().client
    hers = hub.container("ada")
    address = hers.attrs["NetworkSettings"]["Networks"][hub.network]["IPAddress"]
    knock = ["python", "-c", KNOCK, address]
    assert run(image, *knock, network=hub.network).code == 3
    # The same knock where containers may meet, so that silence above means something.
    meeting = client.networks.create(f"{hub.network}-meeting")
    try:
        meeting.connect(hers)
        hers.reload()
        knock[-1] = hers.attrs["NetworkSettings"]["Networks"][meeting.name]["IPAddress"]
        assert run(image, *knock, network=meeting.name).code == 0
    finally:
        meeting.disconnect(hers, force=True)
        meeting.remove()


@pytest.fixture
def network_name() -> Iterator[str]:
    name = f"torch-workstation-test-{uuid.uuid4().hex[:8]}"
    yield name
    remove_named(name)


def load(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped configuration, as JupyterHub would run it."""
    monkeypatch.setenv("NETWORK", network)
    runpy.run_path(str(FOLDER / "jupyterhub_config.py"), {"get_config": MagicMock})


def test_another_network_whose_name_begins_alike_is_not_taken(
    network_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = DockerClient().client
    client.networks.create(f"{network_name}-of-somebody-else")
    load(network_name, monkeypatch)
    load(network_name, monkeypatch)  # and its own is taken again
    (made,) = [network for network in client.networks.list(names=[network_name]) if network.name == network_name]
    assert made.attrs["Options"]["com.docker.network.bridge.enable_icc"] == "false"


def test_a_network_on_which_containers_meet_is_refused(network_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    DockerClient().client.networks.create(network_name)
    with pytest.raises(SystemExit, match=f"reach each other.*docker network rm {network_name}"):
        load(network_name, monkeypatch)


def test_docker_calls_her_server_healthy(hub: Hub, ada: requests.Session) -> None:
    del ada
    hub.wait_for(lambda: health(hub.container("ada")) == "healthy", "the container turns healthy")


def health(container: Container) -> str:
    return str(container.attrs["State"]["Health"]["Status"])


def test_strangers_and_wrong_passwords_stay_outside(hub: Hub) -> None:
    for name, password in (("ada", "wrong"), ("mallory", PASSWORD)):
        assert "/hub/login" in hub.get(hub.log_in(name, password), "/hub/home").url


def test_another_person_does_not_get_into_her_server(hub: Hub, ada: requests.Session) -> None:
    assert hub.get(ada, "/user/ada/api/contents").status_code == 200
    grace = hub.log_in("grace")
    assert hub.get(grace, "/hub/home").status_code == 200
    assert hub.get(grace, "/user/ada/lab").status_code == 403
    assert hub.get(requests.Session(), "/user/ada/api/contents").status_code == 403


def test_the_hub_and_the_image_are_of_one_version() -> None:
    """JupyterHub warns of a Hub and a server that differ; this keeps both locks together."""
    versions = {
        re.search(r"^jupyterhub==(\S+)", lock.read_text(), re.MULTILINE)[1]  # type: ignore[index]
        for lock in (FOLDER / "requirements.txt", ROOT / "requirements" / "jupyter.txt")
    }
    assert len(versions) == 1
