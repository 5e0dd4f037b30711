"""These tests need torch: they run in the image (`make test` mounts them there), not on the host."""

from __future__ import annotations

import contextlib

import pytest
import torch

from workstation.training.settings import Settings

SEEDS = range(5)


def pytest_addoption(parser: pytest.Parser) -> None:
    # tests/conftest.py has it too, where this folder is not mounted alone.
    with contextlib.suppress(ValueError):
        parser.addoption("--require-gpu", action="store_true", help="a GPU test that would skip fails instead")


def pytest_configure(config: pytest.Config) -> None:
    # The image holds no pyproject.toml: the markers must be known here too.
    config.addinivalue_line("markers", "gpu: needs an NVIDIA GPU")
    config.addinivalue_line("markers", "slow: more than 10 s")


@pytest.fixture(autouse=True)
def _gpu(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") is None or torch.cuda.is_available():
        return
    reason = f"needs a GPU; torch {torch.__version__} sees none"
    if request.config.getoption("--require-gpu"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed{seed}")
def settings(request: pytest.FixtureRequest, device: torch.device) -> Settings:
    """Each device with each of five seeds."""
    return Settings(device, request.param)
