"""After each fault the Lab comes back by itself, saved work is whole, and what it says is clear."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.errors import APIError
from lab import TOKEN, Lab, lab, published_at, run
from observations import Observations

ROOT = Path(__file__).resolve().parents[2]
HEADERS = {"Authorization": f"token {TOKEN}"}
MINE = "api/contents/mine.ipynb"
ALWAYS: dict[str, Any] = {"restart_policy": {"Name": "always"}, "shm_size": "1g"}
BACK_WITHIN_S = 60


def save(started: Lab, text: str, path: str = MINE) -> requests.Response:
    """As Lab does when a person presses Ctrl-S."""
    cell = {"cell_type": "raw", "id": "a", "metadata": {}, "source": text}
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    body = {"type": "notebook", "format": "json", "content": notebook}
    return requests.put(started.url(path), json=body, headers=HEADERS, timeout=60)


def saved(started: Lab, path: str = MINE) -> str:
    """What the notebook holds now. Raises where it is not a whole notebook."""
    answer = requests.get(started.url(path), headers=HEADERS, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["content"]["cells"][0]["source"])


def back(started: Lab) -> Lab:
    """The same container once its Lab answers again; its published port is another after each start."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while time.monotonic() < deadline:
        try:
            again = Lab(started.container, published_at(started.container))
        except (TypeError, KeyError, IndexError):  # not started yet: nothing is published
            time.sleep(0.1)
            continue
        if again.answers():
            return again
        time.sleep(0.1)
    raise AssertionError(f"the Lab did not come back within {BACK_WITHIN_S} s:\n{started.container.logs().decode()}")


def wait_for_restart(started: Lab) -> None:
    """By Docker, after it ended by itself."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while not started.container.attrs["RestartCount"]:
        assert time.monotonic() < deadline, "it was not started again"
        time.sleep(0.1)
        started.container.reload()


def kill_from_outside(started: Lab) -> None:
    """The container's first process, by the kernel's hand: its init cannot be killed from within."""
    started.container.reload()
    os.kill(started.container.attrs["State"]["Pid"], signal.SIGKILL)


@pytest.mark.usefixtures("as_root")
def test_sigkill_in_the_middle_of_saving_loses_no_save_that_was_acknowledged(
    image: str, volume: str, observed: Observations
) -> None:
    with lab(image, volumes=[(volume, "/home/workstation", "rw")], **ALWAYS) as started:
        acknowledged = [-1]
        stopped = threading.Event()

        def keep_saving() -> None:
            for number in range(10_000):
                try:
                    answer = save(started, f"{number} " + "x" * 2_000_000)
                except requests.RequestException:
                    break
                if answer.ok:
                    acknowledged.append(number)
            stopped.set()

        threading.Thread(target=keep_saving, daemon=True).start()
        started.wait_until(lambda: acknowledged[-1] >= 5, "a few saves are done")
        before = time.monotonic()
        kill_from_outside(started)
        assert stopped.wait(60)
        again = back(started)
        number, _, rest = saved(again).partition(" ")
        assert int(number) >= acknowledged[-1]
        assert len(rest) == 2_000_000
    seconds = time.monotonic() - before
    observed.add("SIGKILL while a notebook is being saved", "restarted; the notebook is whole", seconds)


def test_a_kernel_that_eats_all_memory_dies_alone(image: str, observed: Observations) -> None:
    with lab(image, mem_limit="1500m", memswap_limit="1500m", **ALWAYS) as started:
        assert save(started, "kept").ok
        kernel = started.kernel()  # held: a kernel that nobody listens to may lose the message
        kernel.start("everything = [b'x' * (1 << 28) for _ in range(64)]")
        said = f"kernel {kernel.id} restarted"
        started.wait_until(lambda: said in started.container.logs().decode(), f"the log says {said!r}", 120)
        assert started.answers()
        assert saved(started) == "kept"
        assert started.run_code("print(6 * 7)").strip() == "42"
    observed.add("a kernel takes more memory than the container has", "it alone is killed; the log says so", None)


@pytest.mark.usefixtures("as_root")
def test_a_lab_that_the_kernel_kills_for_its_memory_comes_back(image: str, observed: Observations) -> None:
    with lab(image, mem_limit="1500m", memswap_limit="1500m", **ALWAYS) as started:
        assert save(started, "kept").ok
        kernel = started.kernel()
        # Left to itself the system takes who has most: the kernel. Here it is to be the server, and so the container.
        server = next(row[1] for row in started.container.top(ps_args="-efww")["Processes"] if "jupyter-lab" in row[-1])
        Path(f"/proc/{server}/oom_score_adj").write_text("1000")
        before = time.monotonic()
        kernel.start("everything = [b'x' * (1 << 26) for _ in range(256)]")
        wait_for_restart(started)
        again = back(started)
        seconds = time.monotonic() - before
        assert saved(again) == "kept"
        assert again.run_code("print(6 * 7)").strip() == "42"
    observed.add("the container is killed for the memory it takes", "restarted", seconds)


@pytest.fixture
def small_home(image: str) -> Iterator[str]:
    """A volume of 40 MB that is a file system of its own."""
    client = docker.from_env()
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=40m,mode=3777"}
    name = client.volumes.create(driver_opts=options).name
    # It lives in memory: without somebody who holds it, a restart would empty it.
    holder = client.containers.run(
        image, ["sleep", "infinity"], volumes={name: {"bind": "/held", "mode": "rw"}}, detach=True
    )
    yield name
    holder.remove(force=True)
    client.volumes.get(name).remove(force=True)


def test_a_full_home_refuses_the_save_and_keeps_the_last_one(
    image: str, small_home: str, observed: Observations
) -> None:
    with lab(image, volumes=[(small_home, "/home/workstation", "rw")], **ALWAYS) as started:
        assert save(started, "kept").ok
        started.run("sh", "-c", "cat /dev/zero >~/filler 2>/dev/null")
        refused = save(started, "x" * 1_000_000)
        assert refused.status_code == 500
        assert "No space left on device" in refused.json()["message"]
        assert saved(started) == "kept"
        assert started.run_code("print(6 * 7)").strip() == "42"
        before = time.monotonic()
        started.container.restart(timeout=10)
        again = back(started)
        seconds = time.monotonic() - before
        assert saved(again) == "kept"
        assert again.run("rm", "/home/workstation/filler").code == 0
        assert save(again, "after").ok
    observed.add(
        "the home volume is full",
        "the save is refused with “No space left on device”; reading and restarting work",
        seconds,
    )


def test_a_read_only_home_is_one_clear_line_and_untouched(image: str, volume: str, observed: Observations) -> None:
    with lab(image, volumes=[(volume, "/home/workstation", "rw")]) as started:
        assert save(started, "kept").ok
    ended = run(image, volumes={volume: {"bind": "/home/workstation", "mode": "ro"}})
    assert ended.code == 73
    assert len(ended.output.strip().splitlines()) == 1
    with lab(image, volumes=[(volume, "/home/workstation", "rw")]) as started:
        assert saved(started) == "kept"
    observed.refused("the home volume is read-only", ended.output.strip())


@pytest.fixture
def clock(image: str, tmp_path: Path) -> Path:
    """A folder with clock.so, to be loaded into every program, and the file that says how far it is ahead."""
    folder = tmp_path / "clock"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    (folder / "offset").write_text("0")
    volumes = {str(folder): {"bind": "/clock"}, str(Path(__file__).parent): {"bind": "/tests", "mode": "ro"}}
    compiled = run(image, "gcc", "-shared", "-fPIC", "-o", "/clock/clock.so", "/tests/clock.c", volumes=volumes)
    assert compiled.code == 0, compiled.output
    tmp_path.chmod(0o755)
    return folder


@pytest.mark.parametrize("days", [3, -3])
def test_a_clock_that_jumps_locks_nobody_out(image: str, clock: Path, days: int, observed: Observations) -> None:
    volumes = [(str(clock), "/clock", "ro")]
    with lab(image, environment={"LD_PRELOAD": "/clock/clock.so"}, volumes=volumes, **ALWAYS) as started:
        browser = requests.Session()
        browser.get(started.url(f"lab?token={TOKEN}"), timeout=60)
        assert save(started, "kept").ok
        before = float(started.run_code("import time; print(time.time())"))
        (clock / "offset").write_text(str(days * 86_400))
        after = float(started.run_code("import time; print(time.time())"))
        assert (after - before) / days == pytest.approx(86_400, rel=0.01), "the clock did not jump"
        assert browser.get(started.url("api/contents"), timeout=60).status_code == 200
        assert saved(started) == "kept"
        assert save(started, "after").ok
    observed.add(f"the clock jumps by {days:+} days", "the browser stays logged in, kernels run, saving works", None)


def test_a_stolen_port_is_named_and_the_lab_comes_back_once_it_is_free(
    image: str, volume: str, observed: Observations
) -> None:
    client = docker.from_env()
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        port = thief.getsockname()[1]
        container = client.containers.create(
            image,
            environment={"JUPYTER_TOKEN": TOKEN},
            ports={"8888/tcp": ("127.0.0.1", port)},
            volumes={volume: {"bind": "/home/workstation", "mode": "rw"}},
            **ALWAYS,
        )
        try:
            thief.listen()
            with pytest.raises(APIError, match=f"{port}.*(in use|allocated)"):
                container.start()
            thief.close()
            before = time.monotonic()
            container.start()
            assert save(back(Lab(container, "")), "kept").ok
            seconds = time.monotonic() - before
        finally:
            container.remove(force=True)
    observed.add("another program holds the port", "Docker names the port; free it and start again", seconds)


def test_a_port_taken_inside_is_one_clear_line_and_no_other_port(image: str) -> None:
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        port = thief.getsockname()[1]
        arguments = ["--ServerApp.ip=127.0.0.1"]
        ended = run(image, *arguments, environment={"JUPYTER_PORT": str(port)}, network_mode="host")
    assert ended.code != 0
    assert str(port) in ended.output.splitlines()[-1], ended.output


@pytest.mark.usefixtures("as_root")
def test_a_killed_docker_daemon_brings_the_lab_back_when_it_starts_again(
    image: str, volume: str, observed: Observations, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--kill-docker"):
        pytest.skip("--kill-docker was not given: it stops every container of this machine")
    with lab(image, volumes=[(volume, "/home/workstation", "rw")], **ALWAYS) as started:
        assert save(started, "kept").ok
        started.kernel().start("while True: pass")
        subprocess.run(["pkill", "-KILL", "-x", "dockerd"], check=True)
        deadline = time.monotonic() + BACK_WITHIN_S
        while subprocess.run(["pgrep", "-x", "dockerd"], capture_output=True).returncode == 0:
            assert time.monotonic() < deadline, "the daemon did not die"
            time.sleep(0.1)
        before = time.monotonic()
        subprocess.run([ROOT / "scripts" / "install-docker"], check=True, capture_output=True)
        again = back(started)
        seconds = time.monotonic() - before
        assert saved(again) == "kept"
        assert again.run_code("print(6 * 7)").strip() == "42"
    what = "after the daemon's start the container starts; kernels are new"
    observed.add("dockerd is killed while a kernel runs", what, seconds)
