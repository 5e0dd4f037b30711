"""Building fault images with buildx: docker-py has no BuildKit."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from fault import SMALL, Fault
from this_machine import base_image

HERE = Path(__file__).resolve().parent
CA = Path("/etc/ssl/certs/ca-certificates.crt")
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")  # each makes and removes images of its own
SMALL_TAG = f"imagecheck-small:{WORKER}"
# NVIDIA's own list is asked for nothing: behind a proxy that inspects TLS it would be refused.
SMALL_LINES = """
RUN rm -f /etc/apt/sources.list.d/cuda* && apt-get update && apt-get install --yes --no-install-recommends python3 \\
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
"""


def build(tag: str, dockerfile: str) -> str:
    """Build and load `tag`; the build's own words are in the error if it fails."""
    command = ["docker", "buildx", "build", "--load", "--provenance=false", "--tag", tag, "--file", "-", str(HERE)]
    if CA.exists():
        command[3:3] = ["--secret", f"id=ca,src={CA}"]
    done = subprocess.run(command, input=dockerfile, text=True, capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return tag


def build_small() -> str:
    return build(SMALL_TAG, f"FROM {base_image()}\nENV CUDA_VERSION= NVIDIA_REQUIRE_CUDA=\n{SMALL_LINES}")


def build_fault(fault: Fault, workstation: str) -> str:
    base = SMALL_TAG if fault.base == SMALL else workstation
    if not fault.lines and fault.user == "1000:0" and fault.base != SMALL:
        return workstation  # the fault is in how it is run
    slug = "".join(letter if letter.isalnum() else "-" for letter in fault.name.lower())
    return build(f"imagecheck-fault:{slug}", f"FROM {base}\nUSER root\n{fault.lines}USER {fault.user}\n")


def remove(tag: str) -> None:
    subprocess.run([shutil.which("docker") or "docker", "rmi", "--force", tag], capture_output=True, check=False)
