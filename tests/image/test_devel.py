"""The devel target compiles and links CUDA, and brings no second copy of anything."""

from __future__ import annotations

import json

import pytest
from docker.errors import ImageNotFound
from lab import run
from testcontainers.core.docker_client import DockerClient
from this_machine import gpus

DEVEL = "torch-workstation:devel"
PROGRAM = r"""
#include <cstdio>
#include <cublas_v2.h>
#include <thrust/version.h>
__global__ void twice(float* x) { x[threadIdx.x] *= 2; }
int main() {
    int count = 0, version = 0;
    cublasGetProperty(MAJOR_VERSION, &version);
    std::printf("cublas %d, %s\n", version, cudaGetErrorName(cudaGetDeviceCount(&count)));
}
"""
NO_DRIVER = ("cudaErrorInsufficientDriver", "cudaErrorNoDevice", "cudaSuccess")


@pytest.fixture(scope="module")
def devel() -> str:
    try:
        DockerClient().client.images.get(DEVEL)
    except ImageNotFound:
        pytest.fail(f"there is no image {DEVEL}: run `make devel`")
    return DEVEL


def test_nvcc_compiles_links_and_the_program_runs(devel: str) -> None:
    command = "nvcc -x cu -arch=sm_90 -lcublas -o /tmp/program - <<'END' && /tmp/program\n" + PROGRAM + "END"
    ended = run(devel, "bash", "-c", command)
    assert ended.code == 0, ended.output
    assert "cublas 13" in ended.output
    assert any(name in ended.output for name in NO_DRIVER), ended.output


def test_the_devel_image_has_one_copy_of_each_cuda_library(devel: str) -> None:
    examined = run(devel, "workstation", "doctor", "--json", shm_size="1g", device_requests=gpus())
    report = json.loads(examined.output)
    wrong = [finding for finding in report["findings"] if finding["status"] != "OK"]
    assert not wrong
