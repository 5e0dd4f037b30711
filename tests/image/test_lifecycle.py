"""Starts, stops and what survives them."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import time
from pathlib import Path

import pytest
from lab import Lab, lab, published_at

STOP_WITHIN_S = 5
NOTEBOOK = "notebooks/01_house_price.ipynb"


def start_busy_kernel(started: Lab) -> None:
    started.kernel().start("import os\nos.open('/tmp/busy', os.O_CREAT)\nwhile True: pass")
    started.wait_until(lambda: started.run("test", "-e", "/tmp/busy").code == 0, "the kernel is busy")


def test_sigterm_stops_everything_in_time_also_a_busy_kernel(image: str) -> None:
    with lab(image) as started:
        start_busy_kernel(started)
        before = time.monotonic()
        started.container.stop(timeout=60)  # a Lab that ignores SIGTERM would take the whole minute
        took = time.monotonic() - before
        started.container.reload()
        assert took < STOP_WITHIN_S
        assert started.container.attrs["State"]["ExitCode"] == 0


def test_a_home_volume_survives_its_container(image: str, volume: str) -> None:
    home = [(volume, "/home/workstation", "rw")]
    with lab(image, volumes=home) as first:
        first.run_code("open('/home/workstation/mine.txt', 'w').write('kept')")
    with lab(image, volumes=home) as second:
        assert second.run("cat", "/home/workstation/mine.txt").output == "kept"


def test_a_restart_brings_the_lab_back(image: str) -> None:
    with lab(image) as started:
        started.container.restart(timeout=10)
        again = Lab(started.container, published_at(started.container))
        again.wait_until(again.answers, "the Lab answers after a restart")


def digest(started: Lab, path: str) -> str:
    return started.run("sha256sum", f"/home/workstation/{path}").output.split()[0]


def test_an_edited_notebook_is_never_overwritten_and_a_newer_one_laid_beside(
    image: str, volume: str, tmp_path: Path
) -> None:
    newer = tmp_path / "01_house_price.ipynb"
    newer.write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    newer.chmod(0o644)
    tmp_path.chmod(0o755)
    home = (volume, "/home/workstation", "rw")
    with lab(image, volumes=[home]) as first:
        first.run_code(f"open('/home/workstation/{NOTEBOOK}', 'a').write(' ')")
        edited = digest(first, NOTEBOOK)
    with lab(image, volumes=[home, (str(tmp_path), "/opt/workstation/notebooks", "ro")]) as second:
        assert digest(second, NOTEBOOK) == edited
        laid = second.run("bash", "-c", "sha256sum ~/notebooks/*").output
        assert hashlib.sha256(newer.read_bytes()).hexdigest() in laid


def test_self_signed_tls_on_request_and_nothing_older_than_1_2(image: str) -> None:
    with lab(image, environment={"WORKSTATION_TLS": "self-signed"}, scheme="https", ready=False) as started:
        started.wait_until(started.answers, "https answers")
        host, _, port = started.address.partition(":")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)), socket.create_connection((host, int(port))) as raw:
            old.wrap_socket(raw)
        started.wait_until(started.is_healthy, "healthy over TLS")


def test_hooks_run_before_the_start(image: str, tmp_path: Path) -> None:
    (tmp_path / "10-shell.sh").write_text("touch /tmp/from-shell\n")
    (tmp_path / "20-python.py").write_text("import pathlib; pathlib.Path('/tmp/from-python').touch()\n")
    tmp_path.chmod(0o755)
    with lab(image, volumes=[(str(tmp_path), "/etc/workstation/before-start.d", "ro")]) as started:
        assert started.run("ls", "/tmp/from-shell", "/tmp/from-python").code == 0


def test_a_hub_gets_its_single_user_server(image: str) -> None:
    hub = {
        "JUPYTERHUB_API_TOKEN": "secret",
        "JUPYTERHUB_API_URL": "http://127.0.0.1:1/hub/api",
        "JUPYTERHUB_SERVICE_PREFIX": "/user/someone/",
        "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8888/user/someone/",
        "JUPYTERHUB_USER": "someone",
        "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-someone",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": "/user/someone/oauth_callback",
    }
    with lab(image, environment=hub, base_url="/user/someone/", ready=False) as started:
        started.wait_until(lambda: "jupyterhub-singleuser" in started.run("ps", "-eo", "args").output, "it is started")
