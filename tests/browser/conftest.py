"""A Lab and a real Chromium, each in its container, on the host's loopback; Playwright drives the browser from here."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab, lab, wait_for
from playwright.sync_api import Browser, sync_playwright
from testcontainers.core.container import DockerContainer
from this_machine import ROOT, base_image

BROWSER_IMAGE = "torch-workstation-browser:local"
START_DEADLINE_S = 30


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshot", type=Path, help="where to keep the picture of the Lab; a temporary file otherwise")


@pytest.fixture
def screenshot(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return request.config.getoption("--screenshot") or tmp_path / "lab.png"


@pytest.fixture(scope="session")
def running(image: str) -> Iterator[Lab]:
    with lab(image, shm_size="1g") as started:
        yield started


@pytest.fixture(scope="session")
def browser_image() -> str:
    base = base_image()
    command = ["docker", "buildx", "build", "--load", "--tag", BROWSER_IMAGE]
    # Ubuntu's chromium package is a snap: where the base is NVIDIA's Ubuntu, Debian's image lends the browser.
    command += ["--build-arg", f"BASE_IMAGE={base if 'nvidia/' not in base else 'debian:13-slim'}"]
    subprocess.run([*command, str(ROOT / "tests" / "browser")], check=True, capture_output=True)
    return BROWSER_IMAGE


@pytest.fixture(scope="session")
def browser(browser_image: str) -> Iterator[Browser]:
    port = _free_port()
    spec = DockerContainer(browser_image).with_command([f"--remote-debugging-port={port}"])
    spec.with_kwargs(network_mode="host")  # the Lab listens on the host's loopback alone, and so does DevTools
    with spec:
        address = f"http://127.0.0.1:{port}"
        wait_for(
            lambda: _answers(f"{address}/json/version"),
            "Chromium listens",
            container=spec.get_wrapped_container(),
            deadline_s=START_DEADLINE_S,
        )
        with sync_playwright() as playwright:
            yield playwright.chromium.connect_over_cdp(address)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(json.load(reply)["Browser"])
    except OSError:
        return False
