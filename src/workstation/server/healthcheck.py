"""`python -m workstation.server.healthcheck`: exit code 0 when all is well, 1 with one line why not.

It follows the server wherever it was told to listen, by the record Jupyter keeps of itself, and notices a GPU that was
there at start and is no more (nvidia-container-toolkit#48).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workstation import doctor
from workstation.server import runtime
from workstation.server.request import asks_for_server

TIMEOUT_S = 3  # below the image's HEALTHCHECK --timeout
WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class UnhealthyError(Exception):
    """The server, or a GPU that it started with, is not there."""


def main() -> None:
    try:
        print(check(os.environ))
    except Exception as error:
        print(f"unhealthy: {error or type(error).__name__}")
        sys.exit(1)


def check(
    environ: Mapping[str, str], first_process: Path = Path("/proc/1"), runtime_parent: Path = runtime.PARENT
) -> str:
    """What is well, in one line. Raises UnhealthyError, or whatever kept it from finding out."""
    if not _serves(first_process, environ):
        return "healthy: this container runs a command, not the server"
    directory = runtime.newest(runtime_parent)
    record = _record(directory) if directory else None
    if directory is None or record is None:
        raise UnhealthyError("no Jupyter server is running yet")
    _ask(record)
    expected = runtime.gpu_count(directory)
    lost = doctor.lost_gpus(expected) if expected else None  # where there is none, leave NVML's code unread
    if lost:
        raise UnhealthyError(lost)
    return f"healthy: port {record['port']}, {record['base_url']}api"


def _ask(record: Mapping[str, Any]) -> None:
    """Raises UnhealthyError or OSError unless /api answers 200."""
    import http.client  # takes longer than all the rest: not while the server is still starting

    host, port = WILDCARDS.get(record["hostname"], record["hostname"]), int(record["port"])
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    if record["secure"]:
        import ssl

        context = ssl.create_default_context()
        context.check_hostname = False  # loopback: a self-signed certificate proves nothing and need not
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
    connection.request("GET", f"{record['base_url']}api")
    status = connection.getresponse().status
    if status != 200:
        raise UnhealthyError(f"{record['base_url']}api answered {status}")


def _serves(first_process: Path, environ: Mapping[str, str]) -> bool:
    """tini's command line ends in `workstation-start` and its arguments; another entry point is not ours to judge."""
    words = (first_process / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    starts = [index for index, word in enumerate(words) if Path(word).name == "workstation-start"]
    return bool(starts) and asks_for_server(words[starts[0] + 1 :], environ)


def _record(directory: Path) -> dict[str, Any] | None:
    """The newest jpserver-PID.json whose server is alive."""
    records = sorted(directory.glob("jpserver-*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in records:
        record: dict[str, Any] = json.loads(path.read_text())
        if Path("/proc", str(record["pid"])).exists():
            return record
    return None


if __name__ == "__main__":
    main()
