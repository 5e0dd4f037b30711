"""A running container of the image, as a test wants to see it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from docker.models.containers import Container
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from imagecheck.engine.jupyter import Jupyter, Kernel

testcontainers_config.ryuk_disabled = True  # its image cannot be pulled offline; every container here is removed below

TOKEN = "a-token-for-tests"
START_DEADLINE_S = 60
CELL_DEADLINE_S = 180
LAST_LINES = 50
Environment = Mapping[str, str | None]  # None: not set at all
Volumes = Sequence[tuple[str, str, str]]  # (host path or volume name, path in the container, mode)


class ContainerEndedError(AssertionError):
    """The container ended while something waited for it; its last lines are in the message."""


def wait_for(condition: Callable[[], bool], what: str, *, container: Container, deadline_s: float) -> None:
    """Ask until it is so. A container that has ended ends the wait at once."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        container.reload()
        if container.status != "running":
            raise ContainerEndedError(f"waiting for {what}, but the container ended:\n{tail(container)}")
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {deadline_s} s; last lines:\n{tail(container)}")
        time.sleep(0.1)


def tail(container: Container) -> str:
    return str(container.logs(tail=LAST_LINES).decode(errors="replace"))


@dataclass(frozen=True)
class Ran:
    """A command that has ended, in a container that may have too."""

    code: int
    output: str


@dataclass(frozen=True)
class Lab:
    container: Container
    address: str  # host:port, empty where nothing is published
    scheme: str = "http"
    base_url: str = "/"

    def url(self, path: str, scheme: str | None = None) -> str:
        return f"{scheme or self.scheme}://{self.address}{self.base_url}{path}"

    def get(self, path: str, *, token: str | None = TOKEN) -> requests.Response:
        """A redirect to the login page is an answer, not something to follow."""
        headers = {"Authorization": f"token {token}"} if token else {}
        return requests.get(self.url(path), headers=headers, timeout=60, allow_redirects=False, verify=False)

    def answers(self) -> bool:
        try:
            return self.get("api").status_code == 200
        except requests.RequestException:
            return False

    def run(self, *command: str, user: str = "", environment: Environment | None = None) -> Ran:
        """In the running container, as `docker exec` would."""
        code, output = self.container.exec_run(list(command), user=user, environment=_without_none(environment or {}))
        return Ran(code, output.decode(errors="replace"))

    def kernel(self) -> Kernel:
        """A new kernel, spoken to as a browser does."""
        return Jupyter(self.address, TOKEN).kernel()

    def run_code(self, code: str) -> str:
        """What `code` prints in a fresh kernel; AssertionError where it raises."""
        with self.kernel() as kernel:
            cell = kernel.execute(code, timeout=CELL_DEADLINE_S)
        assert not cell.error, cell.error
        return cell.output

    def is_healthy(self) -> bool:
        self.container.reload()
        return bool(self.container.attrs["State"]["Health"]["Status"] == "healthy")

    def wait_until(self, condition: Callable[[], bool], what: str, deadline_s: float = START_DEADLINE_S) -> None:
        wait_for(condition, what, container=self.container, deadline_s=deadline_s)


@contextmanager
def lab(
    image: str,
    *arguments: str,
    environment: Environment | None = None,
    volumes: Volumes = (),
    port: int = 8888,
    scheme: str = "http",
    base_url: str = "/",
    ready: bool = True,
    **docker_options: Any,
) -> Iterator[Lab]:
    """The image, started as `docker run OPTIONS IMAGE ARGUMENTS` would; with `ready`, once /api answers."""
    spec = DockerContainer(image)
    spec.ports.update({f"{port}/tcp": ("127.0.0.1", None)})
    spec.env.update(_without_none({"JUPYTER_TOKEN": TOKEN, **(environment or {})}))
    spec.tmpfs.update(docker_options.pop("tmpfs", {}))  # testcontainers' own keyword: given twice, it raises
    for source, target, mode in volumes:
        spec.with_volume_mapping(source, target, mode)
    if arguments:
        spec.with_command(list(arguments))
    spec.with_kwargs(**docker_options)
    with spec:
        container = spec.get_wrapped_container()
        published = docker_options.get("network_mode") != "none"
        running = Lab(container, published_at(container, port) if published else "", scheme, base_url)
        if ready and published:
            running.wait_until(running.answers, f"{running.url('api')} answers")
        yield running


def published_at(container: Container, port: int = 8888) -> str:
    """host:port; another one after each start."""
    container.reload()
    binding = container.attrs["NetworkSettings"]["Ports"][f"{port}/tcp"][0]
    return f"{binding['HostIp']}:{binding['HostPort']}"


def _without_none(environment: Environment) -> dict[str, str]:
    return {name: value for name, value in environment.items() if value is not None}


def run(image: str, *arguments: str, environment: Environment | None = None, **docker_options: Any) -> Ran:
    """`docker run --rm IMAGE ARGUMENTS`, for what is expected to end by itself."""
    client = DockerClient().client
    container = client.containers.run(
        image, list(arguments), environment=_without_none(environment or {}), detach=True, **docker_options
    )
    try:
        code = container.wait(timeout=300)["StatusCode"]
        return Ran(code, container.logs().decode(errors="replace"))
    finally:
        container.remove(force=True, v=True)
