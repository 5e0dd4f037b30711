"""A cluster of real containers, driven from outside: compose/cluster.yml with the job of job.py in it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240  # until anything that is waited for counts as failed
POLL = 0.1
STEPS_AN_EPOCH, LINGERS_AT = 10, 40  # of job.py


@dataclass(frozen=True)
class Line:
    """One of the job's log: where it started from, or a step that it made."""

    started_from: int | None
    step: int | None
    nodes: int
    time: float
    writer: str = ""  # the process


@dataclass(frozen=True)
class Cluster:
    project: str
    directory: Path  # the job's, on this machine
    settings: dict[str, str]
    files: tuple[str, ...] = ("compose/cluster.yml", "tests/cluster/job.yml")

    # ------------------------------------------------------------------------------------------------- what is done

    def up(self, nodes: int) -> None:
        self._compose("up", "--detach", "--no-recreate", "--scale", f"node={nodes - 1}")

    def docker(self, *arguments: str) -> str:
        ran = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=SECONDS)
        assert ran.returncode == 0, f"docker {' '.join(arguments)}: {ran.stderr}"
        return ran.stdout.strip()

    def may_end(self) -> None:
        """Until then the job's last steps take long."""
        (self.directory / "may-end").touch()

    def kill_worker(self, container: str) -> None:
        host = self.docker("inspect", "--format", "{{.Config.Hostname}}", container)
        self.docker("exec", container, "kill", "-9", (self.directory / f"pid-{host}").read_text())

    # ------------------------------------------------------------------------------------------------- what is seen

    @property
    def head(self) -> str:
        return f"{self.project}-head-1"

    def node(self, number: int) -> str:
        return f"{self.project}-node-{number}"

    @property
    def containers(self) -> list[str]:
        return sorted(self._compose("ps", "--all", "--format", "{{.Name}}").split())

    @property
    def network(self) -> str:
        return f"{self.project}_nodes"

    def log(self) -> list[Line]:
        """Whole lines: the last may still be under way."""
        path = self.directory / "steps.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        parsed = [json.loads(line) for line in lines if line.endswith("\n")]
        return [
            Line(line.get("start"), line.get("step"), line["nodes"], line["time"], line["writer"]) for line in parsed
        ]

    def last_step(self) -> int:
        return max((line.step for line in self.log() if line.step is not None), default=0)

    def checkpoints(self) -> list[Path]:
        return sorted(self.directory.glob("train-*"))

    def saved_steps(self) -> list[int]:
        """What each of them holds, the newest last."""
        numbers = [path.name.split("-")[1:] for path in self.checkpoints()]
        return [int(epochs) * STEPS_AN_EPOCH + int(steps) for epochs, steps in numbers]

    def result(self) -> dict[str, Any] | None:
        path = self.directory / "result.json"
        return json.loads(path.read_text()) if path.exists() else None

    def printed(self) -> str:
        ran = subprocess.run(
            [*self._command(), "logs", "--no-color"], capture_output=True, text=True, env=self._environment
        )
        return ran.stdout + ran.stderr

    def wait(self, what: str, seen: Callable[[], object]) -> float:
        """Until `seen`; how many seconds it took. AssertionError where it never is."""
        began = time.monotonic()
        while not seen():
            assert time.monotonic() - began < SECONDS, f"not within {SECONDS} s: {what}"
            time.sleep(POLL)
        return time.monotonic() - began

    def wait_for_step(self, step: int) -> float:
        return self.wait(f"step {step}", lambda: self.last_step() >= step)

    def wait_for_end(self) -> dict[str, Any]:
        self.wait("the job's end", lambda: self.result() is not None)
        found = self.result()
        assert found is not None
        return found

    def state(self, container: str) -> str:
        return self.docker("inspect", "--format", "{{.State.Status}}", container)

    # ----------------------------------------------------------------------------------------------------- how

    def _command(self) -> list[str]:
        files = [option for file in self.files for option in ("--file", str(ROOT / file))]
        return ["docker", "compose", "--env-file", "/dev/null", "--project-name", self.project, *files]

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **self.settings}

    def _compose(self, *arguments: str) -> str:
        ran = subprocess.run(
            [*self._command(), *arguments], capture_output=True, text=True, env=self._environment, timeout=SECONDS
        )
        assert ran.returncode == 0, f"compose {' '.join(arguments)}: {ran.stderr}"
        return ran.stdout

    def run(self, nodes: int) -> None:
        """As a user does: in the foreground, until all nodes have ended."""
        self._compose("up", "--scale", f"node={nodes - 1}")

    def read(self, path: str) -> str:
        """A file as the head has it, which may have ended."""
        with tempfile.TemporaryDirectory() as folder:
            self.docker("cp", f"{self.head}:{path}", folder)
            return (Path(folder) / Path(path).name).read_text()

    def down(self) -> None:
        self._compose("down", "--volumes", "--timeout", "0")


@contextmanager
def cluster(image: str, directory: Path, **settings: str) -> Iterator[Cluster]:
    """Nothing of it is left afterwards."""
    directory.mkdir()
    directory.chmod(0o777)  # the nodes write as their own user
    chosen = {"IMAGE": image, "CODE": str(ROOT), "RUN": str(directory), "PEER_TIMEOUT": "10", **settings}
    with _gone_afterwards(Cluster(_project(), directory, chosen)) as made:
        yield made


@contextmanager
def cluster_as_shipped(image: str, directory: Path, **settings: str) -> Iterator[Cluster]:
    """compose/cluster.yml and nothing over it."""
    shipped = Cluster(_project(), directory, {"IMAGE": image, **settings}, ("compose/cluster.yml",))
    with _gone_afterwards(shipped) as made:
        yield made


def _project() -> str:
    return f"torch-cluster-test-{uuid.uuid4().hex[:6]}"


@contextmanager
def _gone_afterwards(made: Cluster) -> Iterator[Cluster]:
    try:
        yield made
    except BaseException:
        print(made.printed()[-8000:])
        raise
    finally:
        made.down()
