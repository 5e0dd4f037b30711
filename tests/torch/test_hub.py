"""Whether a model can be had is found out in seconds."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workstation import network
from workstation.examples import hub, tiny_bert
from workstation.examples.hub import LARGE, Located, ModelError, locate
from workstation.training.settings import Settings

constants = hub.constants


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


class Shelf(http.server.SimpleHTTPRequestHandler):
    """One model, as the Hub serves it: NAME/resolve/REVISION/FILE, each with a commit and an ETag."""

    folder = Path()

    def do_GET(self) -> None:
        self._serve(body=True)

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def _serve(self, body: bool) -> None:
        wanted = self.folder / self.path.rpartition("/")[2]
        there = "/resolve/" in self.path and wanted.is_file()
        content = wanted.read_bytes() if there else b"{}"
        self.send_response(200 if there or self.path == "/" else 404)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{wanted.name}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Not on the test's output."""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Hub on this machine that has one model, the tiny BERT."""
    folder = tmp_path_factory.mktemp("model")
    tiny_bert.pretrain(folder, Settings())
    handler = type("OneModel", (Shelf,), {"folder": folder})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_model_of_the_hub_is_fetched_fine_tuned_and_named(shelf: str, tmp_path: Path) -> None:
    program = (
        "from workstation.examples import multilingual\n"
        "from workstation.training.settings import Settings\n"
        "result = multilingual.run(Settings(), model='someone/tiny-bert')\n"
        "print(result.model, result.holds())"
    )
    environment = {**os.environ, "HF_ENDPOINT": shelf, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300)
    assert ran.stdout == "someone/tiny-bert True\n", ran.stderr


def test_the_command_line_takes_the_large_bert_where_it_is_asked_for_even_on_a_cpu(shelf: str, tmp_path: Path) -> None:
    """The shelf gives the tiny one whatever name is asked for; that it is LARGE's name is what counts here."""
    ran = examples(shelf, tmp_path, "run", "multilingual", "--data", "bert-multilingual", "--epochs", "1", "--json")
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["metrics"]["model"] == LARGE
    assert report["data"].startswith(f"{LARGE} (Google, Apache-2.0")
    assert report["holds"] is None
    assert "tiny" not in ran.stderr


def test_where_the_large_bert_cannot_be_had_the_command_line_says_so_and_no_tiny_one_takes_its_place(
    tmp_path: Path,
) -> None:
    ran = examples(closed_port(), tmp_path, "run", "multilingual", "--data", "bert-multilingual")
    assert ran.returncode == 69
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert f"{LARGE} is not on this machine" in line
    assert not (tmp_path / "runs").exists()


def examples(endpoint: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the library reads the Hub's address once, when it is imported."""
    ours = {"HOME": str(home), "HF_HOME": str(home / "home"), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", "from workstation.cli import main; main()", "examples", *arguments]
    return subprocess.run(command, env={**os.environ, **ours}, capture_output=True, text=True, timeout=300)


def test_a_hub_that_answers_is_reachable_and_one_that_does_not_is_not(
    shelf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert network.answers(shelf)
    assert not network.answers(closed_port())
    monkeypatch.setattr(constants, "ENDPOINT", shelf)
    assert locate("someone/tiny-bert") == Located("someone/tiny-bert", local=False)


def test_a_hub_that_never_says_anything_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert not network.answers(f"http://127.0.0.1:{silent.getsockname()[1]}", patience=0.5)
        assert time.monotonic() - began < 5


def test_without_a_network_a_named_model_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", closed_port())
    with pytest.raises(ModelError, match="does not answer") as caught:
        locate("someone/tiny-bert")
    assert "hf download someone/tiny-bert" in caught.value.remedy


def test_hf_hub_offline_is_obeyed_without_asking_anybody(shelf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", shelf)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        locate("someone/tiny-bert")


def test_a_folder_or_a_cached_model_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "config.json").write_text("{}")
    assert locate(str(tmp_path)) == Located(str(tmp_path), local=True)
    snapshot = tmp_path / "cache" / "models--someone--tiny-bert" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").touch()
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    assert locate("someone/tiny-bert") == Located("someone/tiny-bert", local=True)
