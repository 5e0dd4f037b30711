"""What is gathered where torch answers as it does on machines that no test has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from workstation.doctor import torch_facts

# A build for CUDA, as far as the doctor asks it. Until CUDA is initialised it counts NVML's GPUs, and one is lost.
TORCH = """
from types import SimpleNamespace as has

__version__ = "2.14.1+cu130"
_C = has(_cuda_getArchFlags=lambda: "sm_90")
class DeferredCudaCallError(Exception): pass
initialised = False

def init():
    global initialised
    {init}
    initialised = True

def cudnn_version():
    if not initialised:
        raise AssertionError("Invalid device id")
    return {cudnn}

def refuse(*_, **__):
    raise RuntimeError("no such device")

version = has(cuda="13.0")
backends = has(cudnn=has(version=cudnn_version))
distributed = has(is_nccl_available=lambda: False)
cuda = has(
    init=init,
    device_count=lambda: 1,
    get_device_name=lambda _: "H100",
    get_device_capability=lambda _: (9, 0),
)
ones = refuse
get_num_threads = lambda: 8
"""
Gather = Callable[..., dict[str, Any]]


@pytest.fixture
def gather(plant: Callable[[Mapping[str, str]], Path], environ: dict[str, str]) -> Gather:
    def run(*, init: str = "pass", cudnn: str = "92400") -> dict[str, Any]:
        absent = "raise ModuleNotFoundError(name=__name__)"
        torch = TORCH.format(init=init, cudnn=cudnn)
        site = plant({"torch.py": torch, "torchvision.py": absent, "torchaudio.py": absent})
        environ["PYTHONPATH"] += f"{os.pathsep}{site}"
        command = [sys.executable, "-P", torch_facts.__file__]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return run


def test_cuda_is_initialised_before_cudnn_counts_gpus(gather: Gather) -> None:
    facts = gather()
    assert (facts["cuda_error"], facts["cudnn"], facts["cudnn_error"]) == (None, "9.24.0", None)
    assert [device["fault"] for device in facts["devices"]] == ["no such device"]


def test_a_torch_that_imports_is_known_whatever_its_cuda_raises(gather: Gather) -> None:
    facts = gather(init="raise DeferredCudaCallError('CUDA call failed lazily\\n\\nat …')")
    assert facts["version"] == "2.14.1+cu130"
    assert facts["cuda_error"] == "CUDA call failed lazily"
    assert facts["cudnn_error"] == "Invalid device id"


def test_a_build_without_cudnn_has_none(gather: Gather) -> None:
    facts = gather(cudnn="None")
    assert (facts["cudnn"], facts["cudnn_error"]) == (None, None)
