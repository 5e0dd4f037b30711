"""One container of the image under test, kept alive by an interpreter of its own and probed from outside."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests
from docker.errors import APIError, DockerException
from docker.models.containers import Container

from imagecheck.engine.probe_volume import MOUNT

LAST_LINES = 50
GRACE = 15.0  # seconds the host waits longer than the supervisor inside, which should have answered by then

SECONDS_TO_BOOT = 30.0
POLL = 0.1
GREETING = "imagecheck-environment "  # what probes/keep.py prints first

Document = Mapping[str, Any]


class ProbeError(Exception):
    """A probe gave no document: it crashed, ran out of time, or its container died."""

    def __init__(self, what: str, *, log: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.log = log
        self.remedy = remedy


@dataclass(frozen=True)
class Executed:
    """How a command in a container ended. `code` is None where the container ended before the command did."""

    code: int | None
    output: str
    error: str


@dataclass(frozen=True)
class Booted:
    """A running container, and the environment and folder that the image's entry point would hand to a command."""

    container: Container
    environment: Mapping[str, str]
    folder: str


def last_lines(container: Container) -> str:
    """What the container printed last; after its end too, if it has not been removed."""
    try:
        return str(container.logs(tail=LAST_LINES).decode(errors="replace"))
    except (DockerException, requests.RequestException):
        return ""


def is_running(container: Container) -> bool:
    container.reload()
    return str(container.status) == "running"


def wait_for_keeper(container: Container) -> Booted:
    """The container, once probes/keep.py has printed its environment.

    Raises:
        ProbeError: the container ended first, or nothing was printed in time.
    """
    deadline = time.monotonic() + SECONDS_TO_BOOT
    while time.monotonic() < deadline:
        ended = not is_running(container)  # asked before the log is read, so that the last line is not missed
        for line in container.logs(stdout=True, stderr=False).decode(errors="replace").splitlines():
            if line.startswith(GREETING):
                facts = json.loads(line.removeprefix(GREETING))
                return Booted(container, facts["environment"], facts["folder"])
        if ended:
            code = container.attrs["State"]["ExitCode"]
            raise ProbeError(f"the container ended with code {code} at its start", log=last_lines(container))
        time.sleep(POLL)
    raise ProbeError(f"the container was not up after {SECONDS_TO_BOOT:.0f} s", log=last_lines(container))


def execute(booted: Booted, argv: Sequence[str], *, timeout: float) -> Executed:
    """Run `argv` in the container. The end of the container, or of `timeout`, ends the wait.

    Raises:
        ProbeError: the time was up (the container is killed then: nothing else ends a stuck process in it), or the
            engine could not start the command.
    """
    container, chunks, failure = booted.container, dict[str, bytes](), list[Exception]()
    assert container.client is not None
    api = container.client.api
    environment = dict(booted.environment)
    started = api.exec_create(container.id, list(argv), environment=environment, workdir=booted.folder)["Id"]

    def read() -> None:
        try:
            out, err = api.exec_start(started, demux=True)
            chunks.update(out=out or b"", err=err or b"")
        except Exception as error:  # handed to the waiting thread below
            failure.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout)
    if reader.is_alive():
        log = last_lines(container)
        container.kill()
        raise ProbeError(f"no answer within {timeout:.0f} s: the container was killed", log=log)
    if failure:
        raise ProbeError(f"the engine could not run {argv[0]}: {failure[0]}", log=last_lines(container))
    code = api.exec_inspect(started)["ExitCode"] if is_running(container) else None
    return Executed(code, chunks["out"].decode(errors="replace"), chunks["err"].decode(errors="replace"))


def run_probe(booted: Booted, python: str, name: str, arguments: Sequence[str], *, timeout: float) -> Document:
    """The document that probe `name` prints, run by `python` under the supervisor that bounds its time.

    Raises:
        ProbeError: there was no document; it carries the probe's last words.
    """
    container = booted.container
    supervised = [python, f"{MOUNT}/supervise.py", str(timeout), python, f"{MOUNT}/{name}.py", *arguments]
    try:
        ended = execute(booted, supervised, timeout=timeout + GRACE)
    except APIError as error:
        raise ProbeError(f"probe {name}: {error.explanation}", log=last_lines(container)) from error
    if ended.code is None:
        state = container.attrs.get("State", {})
        killed = " (out of memory)" if state.get("OOMKilled") else ""
        raise ProbeError(
            f"the container ended with code {state.get('ExitCode')}{killed} during probe {name}",
            log=last_lines(container) or ended.error,
        )
    return read_report(name, ended)


def read_report(name: str, ended: Executed) -> Document:
    """The probe's document out of the supervisor's report."""
    try:
        report = json.loads(ended.output.strip().rpartition("\n")[2])
    except ValueError:
        log = f"{ended.output}\n{ended.error}".strip()
        raise ProbeError(f"probe {name} could not be supervised: exit code {ended.code}", log=log) from None
    if report["timed_out"]:
        raise ProbeError(
            f"probe {name} ran out of its {report['limit']:.0f} s",
            log=report["stderr"],
            remedy="look at what it waits for in the log, or allow more with --timeout",
        )
    if report["document"] is None:
        raise ProbeError(f"probe {name} ended with code {report['exit']} and no document", log=report["stderr"])
    document: Document = report["document"]
    return document
