"""The scripts have no suffix, so they are loaded by path; what they ask of a machine is answered by small programs."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that holds copies of the scripts, for those that write beside themselves."""
    root = tmp_path / "checkout"
    shutil.copytree(SCRIPTS, root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def load(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """The script as a module, from the copy: its ROOT is `checkout`."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load_script(name: str) -> ModuleType:
        loader = SourceFileLoader(f"script_{name.replace('-', '_')}", str(checkout / "scripts" / name))
        spec = spec_from_loader(loader.name, loader)
        assert spec is not None
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, loader.name, module)  # dataclasses look their module up there
        loader.exec_module(module)
        return module

    return load_script


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Put a shell script first on PATH; its own folder is `$here`, where it finds and leaves files."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def put(name: str, text: str) -> Path:
        file = folder / name
        file.write_text(f'#!/bin/sh\nhere=$(dirname "$0")\n{text}')
        file.chmod(0o755)
        return folder

    return put


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int, bytes], str]]:
    """A web server on this machine: serve(path, status, body) gives the URL. A path it was not told of is 404."""
    monkeypatch.setenv("no_proxy", "*")
    replies: dict[str, tuple[int, bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = replies.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name in the base class)
            del format, args

    with HTTPServer(("127.0.0.1", 0), Handler) as server:

        def say(path: str, status: int, body: bytes) -> str:
            replies[path] = (status, body)
            return f"http://127.0.0.1:{server.server_port}{path}"

        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield say
        server.shutdown()
        thread.join()
