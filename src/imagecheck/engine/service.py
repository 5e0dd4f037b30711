"""The image started as its maker meant it to be, and what it does: answers, ends, stops when told."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from docker.errors import APIError
from testcontainers.core.container import DockerContainer

from imagecheck.engine.container import POLL, ProbeError, is_running, last_lines
from imagecheck.engine.image import Image
from imagecheck.engine.jupyter import Jupyter
from imagecheck.engine.lab import Lab
from imagecheck.settings import Settings

JUPYTER_PORT = 8888
SECONDS_FOR_A_SURPRISE = 10.0  # how long an image that names no server may still turn out to be one
PRINTED_TOKEN = re.compile(r"[?&]token=([0-9A-Za-z_-]+)")


@dataclass
class Service:
    """A running start command. `jupyter` is None where none answered; `ended` the exit code where it ended first."""

    spec: DockerContainer
    jupyter: Jupyter | None
    ended: int | None
    seconds: float  # until it answered, ended, or the limit
    log: str
    stopped: float | None = None  # seconds from SIGTERM to its end
    asked_to_stop: bool = False

    @classmethod
    def start(cls, lab: Lab, settings: Settings) -> Service:
        """Start it with a token of ours and wait, until it answers, ends, or the time limit is over.

        Raises:
            ProbeError: the engine could not start the container.
        """
        ports = [settings.server_port] if settings.server_port else sorted({*lab.image.ports, JUPYTER_PORT})
        token = secrets.token_hex(16)
        patience = settings.timeout if expects_jupyter(lab.image, settings) else SECONDS_FOR_A_SURPRISE
        clock = time.monotonic()
        spec = lab.serve(token_environment(token), ports)
        container = spec.get_wrapped_container()
        while True:
            seconds = time.monotonic() - clock
            if not is_running(container):
                return cls(spec, None, container.attrs["State"]["ExitCode"], seconds, last_lines(container))
            for port in ports:
                jupyter = Jupyter(address(spec, port), token)
                if jupyter.answers():
                    jupyter.token = accepted_token(jupyter, token, last_lines(container))
                    return cls(spec, jupyter, None, seconds, last_lines(container))
            if seconds > patience:
                return cls(spec, None, None, seconds, last_lines(container))
            time.sleep(POLL)

    def stop(self, limit: float) -> float | None:
        """Send the image's stop signal; the seconds it took to end, None where it had not within `limit`."""
        if self.asked_to_stop:
            return self.stopped
        self.asked_to_stop = True
        container = self.spec.get_wrapped_container()
        clock = time.monotonic()
        try:
            container.kill(signal=container.attrs["Config"].get("StopSignal") or "SIGTERM")
        except APIError as error:
            raise ProbeError(f"the stop signal could not be sent: {error.explanation}") from error
        while time.monotonic() - clock < limit:
            if not is_running(container):
                self.stopped = time.monotonic() - clock
                return self.stopped
            time.sleep(POLL)
        self.log = last_lines(container)
        container.kill()
        return None


def expects_jupyter(image: Image, settings: Settings) -> bool:
    """Whether the image looks as if it served Jupyter: its command or its ports say so, or the user does."""
    return settings.server_port is not None or JUPYTER_PORT in image.ports or "jupyter" in image.start_command


def ends_within(spec: DockerContainer, limit: float) -> bool:
    """Whether the container ends before `limit` seconds are over."""
    container, clock = spec.get_wrapped_container(), time.monotonic()
    while time.monotonic() - clock < limit:
        if not is_running(container):
            return True
        time.sleep(POLL)
    return False


def token_environment(token: str) -> Mapping[str, str]:
    """How a Jupyter server is told its token: jupyter_server and the classic notebook read the same variable."""
    return {"JUPYTER_TOKEN": token}


def accepted_token(jupyter: Jupyter, given: str, log: str) -> str:
    """Ours if the server took it, else the one it printed: an image may make its own."""
    printed = PRINTED_TOKEN.findall(log)
    candidates = [given, *dict.fromkeys(printed)]
    return next((token for token in candidates if jupyter.status("api/contents", token) == 200), given)


def address(spec: DockerContainer, port: int) -> str:
    """host:port at which the container's `port` is reached from here."""
    container = spec.get_wrapped_container()
    published = (container.attrs["NetworkSettings"]["Ports"] or {}).get(f"{port}/tcp")
    if not published:
        container.reload()
        published = (container.attrs["NetworkSettings"]["Ports"] or {}).get(f"{port}/tcp") or [{"HostPort": "0"}]
    return f"{spec.get_docker_client().host()}:{published[0]['HostPort']}"
