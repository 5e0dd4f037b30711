"""These tests need torch: they run in the image (`make test` mounts them there), not on the host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import llm_client
import pytest
import torch
from command_line import Ran, workstation
from transformers import LlamaConfig, LlamaForCausalLM

from workstation.examples.catalog import CHAPTERS
from workstation.llm import answers, causal, corpus, export, instructions
from workstation.llm.causal import Causal
from workstation.llm.instructions import Instructions
from workstation.llm.serve.server import Address, Serving, running
from workstation.llm.tokens import Tokenizer
from workstation.training.settings import Settings

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


@pytest.fixture(scope="session")
def docstrings() -> Instructions:
    return instructions.docstrings()


@pytest.fixture(scope="session")
def untrained(docstrings: Instructions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face model that knows nothing, in a directory of its own, as `save_pretrained` writes it."""
    directory = tmp_path_factory.mktemp("hub") / "untrained"
    texts = (message["content"] for exchange in docstrings.train for message in exchange.messages)
    fast = export.as_transformers(Tokenizer.learn(texts, 1024), 256)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    fast.save_pretrained(directory)
    return directory


@pytest.fixture
def loaded(untrained: Path) -> Causal:
    found = causal.load(str(untrained), torch.device("cpu"))
    answers.give_chat_template(found.tokenizer)
    return found


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.learn((poem.text for poem in corpus.Poems().documents()), 400)


@pytest.fixture(scope="module")
def noise(tokenizer: Tokenizer) -> Causal:
    return llm_client.noise(tokenizer)


@pytest.fixture(scope="module")
def serving(noise: Causal) -> Iterator[Serving]:
    with running(noise, Address("noise", port=0, together=2, waiting=2)) as server:
        yield server
