"""These tests need torch: they run in the image (`make test` mounts them there), not on the host."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from command_line import Ran, workstation

from workstation.examples.catalog import CHAPTERS
from workstation.training.settings import Settings

# Ten seconds and more, for one epoch.
LONG = {"llm_finetune", "llm_pretrain", "llm_serve", "tensors", "detection", "compression", "tuning", "translation"}


def pytest_addoption(parser: pytest.Parser) -> None:
    # tests/conftest.py has it too, where this folder is not mounted alone.
    with contextlib.suppress(ValueError):
        parser.addoption("--require-gpu", action="store_true", help="a GPU test that would skip fails instead")
    parser.addoption("--seeds", type=int, default=5, help="how many seeds each chapter's promise is tested with")


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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    seeds = metafunc.config.getoption("--seeds")
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(seeds), ids=lambda seed: f"seed{seed}")
    if "chapter_name" in metafunc.fixturenames:
        # Where no chapter's promise is tested, those that take long are left out here, too.
        metafunc.parametrize("chapter_name", [each.name for each in CHAPTERS if seeds or each.name not in LONG])


@pytest.fixture(scope="session")
def one_gpu(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that PyTorch will tell there is a GPU, as long as nothing computes on it."""
    library = tmp_path_factory.mktemp("runtime") / "libcuda.so.1"
    source = Path(__file__).with_name("one_gpu.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    return {"LD_PRELOAD": str(library), "LD_LIBRARY_PATH": str(library.parent)}


@pytest.fixture
def settings(seed: int, device: torch.device) -> Settings:
    """Each device with each seed."""
    return Settings(device, seed)


@pytest.fixture
def llm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """`workstation llm …`, with a home of its own and no hub."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return partial(workstation, "llm")
