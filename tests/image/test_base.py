"""The Dockerfile's first stage: what NVIDIA's base brings of CUDA, a package source too, goes before anything else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from this_machine import ROOT

LIKE_NVIDIAS = "torch-workstation-like-nvidia:test"
CLEANED = "torch-workstation-like-nvidia:cleaned"
# As the packages of nvidia/cuda:…-base-ubuntu24.04 leave it: a library, links, ld.so's settings, a source under https.
LAID_OVER = r"""
USER 0
RUN mkdir -p /deb/DEBIAN /deb/etc/ld.so.conf.d /deb/etc/apt/sources.list.d /deb/usr/local/cuda-13.0/lib \
    && printf 'Package: cuda-cudart-13-0\nVersion: 13.0\nArchitecture: all\nMaintainer: a\nDescription: a\n' \
        >/deb/DEBIAN/control \
    && echo 'deb https://127.0.0.1:9/cuda /' >/deb/etc/apt/sources.list.d/cuda-ubuntu2404-x86_64.list \
    && echo /usr/local/cuda-13/lib >/deb/etc/ld.so.conf.d/988_cuda-13.conf \
    && echo 'int cudart;' | gcc -shared -x c -Wl,-soname,libcudart.so.13 -o /libcudart.so.13 - \
    && mv /libcudart.so.13 /deb/usr/local/cuda-13.0/lib/ \
    && dpkg-deb --root-owner-group --build /deb /cuda.deb \
    && rm -rf /usr/local/cuda /etc/ld.so.conf.d/00-cuda-wheels.conf \
    && dpkg --install /cuda.deb \
    && ln -s /usr/local/cuda-13.0 /etc/alternatives/cuda && ln -s /etc/alternatives/cuda /usr/local/cuda \
    && ln -s /usr/local/cuda-13.0 /usr/local/cuda-13 \
    && ldconfig
"""
LEFT = """
ldconfig -p | grep libcudart
ls -d /usr/local/cuda* /etc/alternatives/cuda* /etc/ld.so.conf.d/*cuda* /etc/apt/sources.list.d/*cuda* 2>/dev/null
dpkg-query --show --showformat '${Package}\n' 'cuda-*' 2>/dev/null
true
"""


def built(tag: str, *options: str, dockerfile: str | None = None) -> None:
    command = ["docker", "buildx", "build", "--quiet", "--load", "--tag", tag, *options]
    command += ["-"] if dockerfile else [str(ROOT)]
    done = subprocess.run(command, input=dockerfile, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def left(image: str) -> list[str]:
    command = ["docker", "run", "--rm", "--user", "0", "--entrypoint", "sh", image, "-c", LEFT]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")[:-1]


@pytest.fixture(scope="module")
def like_nvidias(image: str) -> Iterator[str]:
    built(LIKE_NVIDIAS, dockerfile=f"FROM {image}{LAID_OVER}")
    yield LIKE_NVIDIAS
    subprocess.run(["docker", "image", "rm", LIKE_NVIDIAS], check=True, capture_output=True)


def test_nothing_of_cuda_is_left_of_a_base_like_nvidias(like_nvidias: str) -> None:
    assert len(left(like_nvidias)) == 8, "a library, three links or folders, and so on: or nothing is tried here"
    built(CLEANED, "--target", "base", "--build-arg", f"BASE_IMAGE={like_nvidias}")
    try:
        assert left(CLEANED) == []
    finally:
        subprocess.run(["docker", "image", "rm", CLEANED], check=True, capture_output=True)


def test_a_driver_that_is_too_old_does_not_keep_the_lab_from_starting(image: str) -> None:
    """NVIDIA's hook refuses the container otherwise (NVIDIA_REQUIRE_CUDA), and the doctor has nobody to tell it to."""
    asked = ["docker", "image", "inspect", "--format", "{{json .Config.Env}}", image]
    assert "NVIDIA_DISABLE_REQUIRE=1" in subprocess.run(asked, check=True, capture_output=True, text=True).stdout
