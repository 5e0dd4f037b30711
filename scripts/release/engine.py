"""An engine that can write an image bit for bit: one whose store is containerd's."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_DEADLINE_S = 60
STATE = Path("/var/lib/torch-workstation-release")
# `--bridge none` would be enough for it, but dockerd then deletes docker0, the first engine's (measured on 26.1).
# Nothing is routed over this one: 198.18.0.0/15 is set aside for benchmarks (RFC 2544).
BRIDGE, BRIDGE_ADDRESS = "tw-release", "198.18.254.1/24"


class ReleaseError(Exception):
    """One line with what to do, and the exit code."""

    def __init__(self, what: str, remedy: str, code: int) -> None:
        super().__init__(f"{what}. {remedy}")
        self.code = code


@dataclass(frozen=True)
class Engine:
    """`network` is what a build's RUN lines use: an engine without a bridge of its own lends the host's."""

    host: str
    network: str = "default"

    @property
    def environment(self) -> Mapping[str, str]:
        return os.environ | ({"DOCKER_HOST": self.host} if self.host else {})

    def output(self, *command: str) -> str:
        done = subprocess.run(["docker", *command], env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise ReleaseError(f"docker {command[0]} failed: {done.stderr.strip()}", "Mend that, then try again", 69)
        return done.stdout.strip()

    def has_containerd_store(self) -> bool:
        return "io.containerd.snapshotter" in self.output("info", "--format", "{{json .DriverStatus}}")


@contextmanager
def containerd_engine(base_image: str) -> Iterator[Engine]:
    """The engine that runs, where its store is containerd's; otherwise one that lives as long as the block.

    The other store ignores `rewrite-timestamp` in silence (measured on Docker 26.1). What was built locally does not
    leave the engine it was built in, so `base_image` is handed over.

    Raises:
        ReleaseError: no engine answers, or a second one cannot be started.
    """
    own = Engine("")
    if own.has_containerd_store():
        yield own
        return
    with second_engine({"containerd-snapshotter": True}) as engine:
        if subprocess.run(["docker", "image", "inspect", base_image], capture_output=True).returncode == 0:
            with subprocess.Popen(["docker", "save", base_image], stdout=subprocess.PIPE) as saved:
                subprocess.run(
                    ["docker", "load", "--quiet"], stdin=saved.stdout, env=engine.environment, check=True,
                    stdout=subprocess.DEVNULL,
                )  # fmt: skip
        yield engine


@contextmanager
def second_engine(features: Mapping[str, bool]) -> Iterator[Engine]:
    """An engine with a store of its own, which ends with the block.

    Raises:
        ReleaseError: 77, root is needed; 75, another one is at work; 69, it did not start.
    """
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise ReleaseError(
            "a second engine is needed, and starting one needs root",
            "Run this with sudo; to build, containerd-snapshotter among its features in daemon.json will do",
            77,
        )
    with _alone(), tempfile.TemporaryDirectory(dir=STATE) as folder, _bridge():
        state = Path(folder)
        settings, socket, log = state / "daemon.json", state / "docker.sock", state / "log"
        settings.write_text(json.dumps({"features": dict(features)}))
        command = ["dockerd", "--config-file", settings, "--host", f"unix://{socket}", "--data-root", state / "data"]
        command += ["--exec-root", state / "exec", "--pidfile", state / "pid", "--bridge", BRIDGE, "--iptables=false"]
        with log.open("wb") as output:
            process = subprocess.Popen([*map(str, command)], stdout=output, stderr=output, start_new_session=True)
        try:
            engine = Engine(f"unix://{socket}", network="host")
            _wait_for(engine, process, log)
            yield engine
        finally:
            process.terminate()
            process.wait(timeout=START_DEADLINE_S)


@contextmanager
def _alone() -> Iterator[None]:
    """One at a time; and what a run that was killed has left goes first."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ReleaseError("another release is being built here", "Try again when it is done", 75) from error
        for left in STATE.glob("tmp*"):
            shutil.rmtree(left)
        if Path("/sys/class/net", BRIDGE).exists():
            subprocess.run(["ip", "link", "delete", BRIDGE], check=True)
        yield


@contextmanager
def _bridge() -> Iterator[None]:
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", BRIDGE_ADDRESS, "dev", BRIDGE], check=True)
        subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
        yield
    finally:
        subprocess.run(["ip", "link", "delete", BRIDGE], check=True)


def _wait_for(engine: Engine, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while subprocess.run(["docker", "info"], env=engine.environment, capture_output=True).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise ReleaseError(f"the second engine did not start: {' '.join(last)}", f"Its log is {log}", 69)
        time.sleep(0.2)
