from __future__ import annotations

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workstation.server import runtime, self_signed
from workstation.server.healthcheck import UnhealthyError, check

SOURCE = Path(__file__).parents[3] / "src"
STATUS = {"/api": 200, "/team/ada/api": 200, "/broken/api": 500}


class Jupyter(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(STATUS.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), Jupyter) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


Verdict = Callable[..., str]


@pytest.fixture
def verdict(tmp_path: Path) -> Verdict:
    """What the check says of a container whose first process has these words and whose Jupyter left this record."""

    def ask(*arguments: str, record: dict[str, object] | None = None, gpus: int = 0, **environ: str) -> str:
        first = tmp_path / "1"
        first.mkdir(exist_ok=True)
        words = ["tini", "-g", "--", "/opt/venv/bin/workstation-start", *arguments]
        (first / "cmdline").write_bytes("".join(f"{word}\0" for word in words).encode())
        if record is not None:
            name = f"jpserver-{record['pid']}.json"
            (runtime.make(gpus, tmp_path) / name).write_text(json.dumps(record))
        return check(environ, first, tmp_path)

    return ask


def record(port: int, base_url: str = "/", *, secure: bool = False, pid: int | None = None) -> dict[str, object]:
    return {
        "hostname": "0.0.0.0",
        "port": port,
        "base_url": base_url,
        "secure": secure,
        "pid": os.getpid() if pid is None else pid,
    }


def test_a_server_that_answers_is_healthy(verdict: Verdict, server: http.server.HTTPServer) -> None:
    assert verdict(record=record(server.server_port)).startswith("healthy")


def test_it_follows_the_base_url(verdict: Verdict, server: http.server.HTTPServer) -> None:
    assert "/team/ada/api" in verdict("--debug", record=record(server.server_port, "/team/ada/"))


def test_it_follows_tls_with_a_certificate_that_nobody_signed(
    verdict: Verdict, server: http.server.HTTPServer, tmp_path: Path
) -> None:
    path, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    self_signed.make_ready(path, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    assert verdict(record=record(server.server_port, secure=True)).startswith("healthy")


def test_a_server_that_fails_is_unhealthy(verdict: Verdict, server: http.server.HTTPServer) -> None:
    with pytest.raises(UnhealthyError, match="/broken/api answered 500"):
        verdict(record=record(server.server_port, "/broken/"))


def test_a_server_that_does_not_answer_is_unhealthy(verdict: Verdict, server: http.server.HTTPServer) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionRefusedError):
        verdict(record=record(server.server_port))


def test_a_server_that_has_not_started_is_unhealthy(verdict: Verdict) -> None:
    with pytest.raises(UnhealthyError, match="no Jupyter server is running yet"):
        verdict()


def test_the_record_of_a_server_that_died_counts_for_nothing(verdict: Verdict, server: http.server.HTTPServer) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(UnhealthyError, match="no Jupyter server"):
        verdict(record=record(server.server_port, pid=gone.pid))


def test_the_latest_start_is_asked_not_the_one_before_a_restart(
    verdict: Verdict, server: http.server.HTTPServer, tmp_path: Path
) -> None:
    """Whatever the clock: it may have been set back meanwhile, and /tmp outlives a restart."""
    for restarts in range(1, 12):
        with pytest.raises(UnhealthyError, match="/broken/api"):
            verdict(record=record(server.server_port, "/broken/"))
        made = list(tmp_path.glob(f"{runtime.PREFIX}*"))
        assert len(made) == restarts, "another Lab may live in the same /tmp: nothing is taken from it"
        for path in made:
            os.utime(path, (2**32, 2**32))
    assert verdict(record=record(server.server_port)).startswith("healthy")


def test_a_gpu_that_was_there_at_start_and_is_no_more_is_unhealthy(
    verdict: Verdict, server: http.server.HTTPServer
) -> None:
    with pytest.raises(UnhealthyError, match="GPU lost"):
        verdict(record=record(server.server_port), gpus=4096)


def test_a_container_that_runs_a_command_is_not_asked_for_a_server(verdict: Verdict) -> None:
    assert "runs a command" in verdict("python", "train.py")


def test_a_hubs_single_user_server_is_asked_for(verdict: Verdict, server: http.server.HTTPServer) -> None:
    hub = {"JUPYTERHUB_API_TOKEN": "t", "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8888/team/ada/"}
    with pytest.raises(UnhealthyError):
        verdict("jupyterhub-singleuser", **hub)
    assert verdict("jupyterhub-singleuser", record=record(server.server_port, "/team/ada/"), **hub).startswith(
        "healthy"
    )


def test_the_command_says_why_in_one_line_and_exits_1() -> None:
    code = "from workstation.server import healthcheck as h; h.check = lambda environ: 1 / 0; h.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "unhealthy: division by zero\n", "")
