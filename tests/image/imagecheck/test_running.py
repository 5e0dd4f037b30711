"""How a run behaves on real containers: it never pulls, bounds its waits, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import docker
import pytest
from building import SMALL_TAG, WORKER, build, build_small, remove

from imagecheck import Outcome, Settings, judge
from imagecheck.engine import reaper
from imagecheck.errors import ImageNotFoundError

SOURCE = Path(__file__).resolve().parents[3] / "src"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(SOURCE)}


@pytest.fixture(scope="module")
def small() -> Iterator[str]:
    """Debian with a Python and no torch: boots in no time."""
    build_small()
    tag = build(f"imagecheck-running:{WORKER}", f'FROM {SMALL_TAG}\nUSER 1000\nCMD ["sleep", "600"]\n')
    yield tag
    remove(tag)
    remove(SMALL_TAG)


def made_by(client: docker.DockerClient, pid: int) -> list[str]:
    """What the imagecheck of that process made and has not removed; another's, beside it, does not count."""
    query = {"label": reaper.RUN}
    found = [
        *(
            (str(container.name), container.labels)
            for container in client.containers.list(all=True, ignore_removed=True, filters=query)
        ),
        *((str(network.name), network.attrs["Labels"]) for network in client.networks.list(filters=query)),
        *((str(volume.name), volume.attrs["Labels"]) for volume in client.volumes.list(filters=query)),
    ]
    return [name for name, labels in found if labels[reaper.PROCESS].startswith(f"{pid}:")]


def start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    # What a shell starts in the background ignores SIGINT, and so do its children.
    return subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "imagecheck", *arguments],
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    process = start(arguments)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def wait_until_started(client: docker.DockerClient, pid: int) -> None:
    deadline = time.monotonic() + 30
    while not any("service" in name for name in made_by(client, pid)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_image_the_engine_does_not_hold_is_not_pulled() -> None:
    with pytest.raises(ImageNotFoundError, match="--pull"):
        judge("imagecheck.invalid/none:1", Settings())
    done = run("imagecheck.invalid/none:1")
    assert done.returncode == 66
    assert done.stderr.count("\n") == 1


def test_an_image_that_cannot_be_pulled_is_not_there() -> None:
    with pytest.raises(ImageNotFoundError, match="could not be pulled"):
        judge("imagecheck.invalid/none:1", Settings(pull=True))


def forward_to_the_engine(socket_path: str) -> socketserver.ThreadingTCPServer:
    """The engine's socket behind a TCP port of this machine: what a remote DOCKER_HOST looks like from here."""

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(socket_path)
                back = threading.Thread(target=pump, args=(engine, self.request), daemon=True)
                back.start()
                pump(self.request, engine)
                back.join()

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(1 << 16):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


@pytest.mark.skipif(not Path("/var/run/docker.sock").exists(), reason="the engine has no socket here to forward to")
def test_an_engine_behind_docker_host_judges_as_the_one_here(small: str) -> None:
    server = forward_to_the_engine("/var/run/docker.sock")
    environment = ENVIRONMENT | {"DOCKER_HOST": f"tcp://127.0.0.1:{server.server_address[1]}"}
    command = [
        sys.executable,
        "-m",
        "imagecheck",
        "--only",
        "stack.imports,contents.not-root,contents.no-setuid",
        small,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    server.shutdown()
    assert "2 pass, 1 fail, 0 skip, 0 error" in done.stdout, done.stdout + done.stderr


def test_an_unknown_name_is_a_usage_error() -> None:
    done = run("--require", "gpu,no-such-check", "whatever")
    assert done.returncode == 2
    assert "no-such-check" in done.stderr


def test_a_run_leaves_nothing_behind(small: str) -> None:
    client = docker.from_env()
    judge(small, Settings(only=("stack", "operations")))
    assert made_by(client, os.getpid()) == []


def test_interrupting_a_run_leaves_nothing_behind(small: str) -> None:
    client = docker.from_env()
    process = start(["--only", "operations.stops,operations.no-tty", "--stop-limit", "60", small])
    wait_until_started(client, process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert made_by(client, process.pid) == []


def test_what_a_killed_run_left_is_gone_after_the_next(small: str) -> None:
    client = docker.from_env()
    process = start(["--only", "operations.stops,operations.no-tty", "--stop-limit", "60", small])
    wait_until_started(client, process.pid)
    process.kill()
    process.wait()
    assert made_by(client, process.pid)
    judge(small, Settings(only=("contents.not-root",)))
    assert made_by(client, process.pid) == []


def test_a_kept_container_outlives_the_run_and_the_next(small: str) -> None:
    client = docker.from_env()
    done = run("--keep", "--only", "operations.no-tty", small)
    try:
        judge(small, Settings(only=("contents.not-root",)))
        (kept,) = client.containers.list(all=True, ignore_removed=True, filters={"label": reaper.KEPT})
        assert str(kept.name) in done.stdout
    finally:
        for container in client.containers.list(all=True, ignore_removed=True, filters={"label": reaper.KEPT}):
            container.remove(force=True)
        for volume in client.volumes.list(filters={"label": reaper.KEPT}):
            volume.remove(force=True)


def test_a_container_that_dies_ends_the_wait_with_its_last_lines(small: str) -> None:
    tag = build(
        "imagecheck-dying:test",
        f'FROM {small}\nEXPOSE 8888\nCMD ["sh", "-c", "seq 1 80; echo no licence; exit 7"]\n',
    )
    try:
        card = judge(tag, Settings(only=("server.answers",), timeout=100))
    finally:
        remove(tag)
    (result,) = card.results
    assert result.outcome is Outcome.FAIL
    log = str(result.finding.evidence["log"]).splitlines()
    assert (len(log), log[-1]) == (50, "no licence")
    assert card.seconds < 30


def test_a_probe_that_hangs_is_bounded_and_the_run_goes_on(small: str) -> None:
    tag = build(
        "imagecheck-hanging:test",
        f"FROM {small}\nUSER root\nCOPY stub_torch /usr/lib/python3/dist-packages/torch\n"
        "RUN echo 'import time; time.sleep(600)' >> /usr/lib/python3/dist-packages/torch/__init__.py\nUSER 1000\n",
    )
    try:
        card = judge(tag, Settings(only=("stack", "operations.no-tty"), timeout=3))
    finally:
        remove(tag)
    outcomes = {result.check: result for result in card.results}
    assert "ran out of its 3 s" in outcomes["stack.imports"].finding.summary
    assert outcomes["operations.no-tty"].outcome is Outcome.PASS
    assert card.seconds < 40


def test_a_python_off_the_path_is_found(small: str) -> None:
    tag = build(
        "imagecheck-hidden:test",
        f"FROM {small}\nUSER root\nCOPY stub_torch /usr/lib/python3/dist-packages/torch\n"
        "RUN mkdir -p /srv/deep/env/bin && mv /usr/bin/python3* /srv/deep/env/bin/\nENV CUDA_VERSION=\nUSER 1000\n",
    )
    try:
        card = judge(tag, Settings(only=("stack.imports",)))
    finally:
        remove(tag)
    (result,) = card.results
    assert result.outcome is Outcome.PASS, result.finding
    assert str(result.finding.evidence["python"]).startswith("/srv/deep/env/bin/python3")


def test_an_image_without_shell_or_python_is_judged_all_the_same() -> None:
    tag = build("imagecheck-empty:test", "FROM scratch\nCOPY fault.py /file\nUSER 1000\n")
    try:
        card = judge(tag, Settings(deselect=("training",)))
    finally:
        remove(tag)
    outcomes = {result.check: result.outcome for result in card.results}
    assert outcomes["stack.imports"] is Outcome.FAIL
    assert outcomes["contents.not-root"] is Outcome.PASS
    assert outcomes["numerics.matmul"] is Outcome.SKIP


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_a_tar_is_judged_and_not_left_in_the_engine(small: str, tmp_path: Path, form: str) -> None:
    client = docker.from_env()
    path = tmp_path / f"{form}.tar"
    tag = build(f"imagecheck-{form}:test", f"FROM {small}\nLABEL form={form}\n")
    if form == "docker":
        subprocess.run(["docker", "save", "--output", str(path), tag], check=True)
    else:
        to_oci(client, tag, path)
    # By its label, which no other image has: other tests build and remove images meanwhile.
    assert client.images.list(filters={"label": f"form={form}"})
    remove(tag)
    card = judge(str(path), Settings(only=("contents",), deselect=("contents.no-caches",)))
    assert card.exit_code == 0, [result for result in card.results if result.outcome is not Outcome.PASS]
    assert client.images.list(all=True, filters={"label": f"form={form}"}) == []


def to_oci(client: docker.DockerClient, tag: str, path: Path) -> None:
    """A pure OCI layout: docker save's, which is one since Docker 25, without Docker's own manifest.json."""
    raw = path.with_suffix(".docker")
    with raw.open("wb") as file:
        for chunk in client.images.get(tag).save():
            file.write(chunk)
    with tarfile.open(raw) as source, tarfile.open(path, "w") as target:
        for member in source:
            if member.name not in ("manifest.json", "repositories"):
                target.addfile(member, source.extractfile(member) if member.isfile() else None)


def test_reports_are_written_beside_the_scorecard(small: str, tmp_path: Path) -> None:
    files = {form: tmp_path / f"report.{form}" for form in ("json", "junit", "html")}
    options = [word for form, path in files.items() for word in (f"--{form}", str(path))]
    done = run("--only", "contents.not-root", *options, small)
    assert done.returncode == 0, done.stderr
    assert json.loads(files["json"].read_text())["totals"]["pass"] == 1
    assert "<testsuite" in files["junit"].read_text()
    assert "<!doctype html>" in files["html"].read_text()


def test_a_report_that_cannot_be_written_is_told_before_the_work(small: str) -> None:
    done = run("--json", "/no/such/folder/report.json", small)
    assert done.returncode == 2


def test_pytest_judges_an_image_with_the_same_outcomes(small: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "imagecheck.plugin", "--image", small, "-q", "-rA"]
    command += ["--imagecheck-only", "stack.imports,contents.not-root,gpu", "--imagecheck-require", "gpu.memory"]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 failed, 1 passed, 3 skipped" in done.stdout, done.stdout
    assert "install torch" in done.stdout
