"""What tests of the language model share. Those that do name it as their plugin: its imports take two seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import llm_client
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from workstation.llm import answers, causal, corpus, export, instructions
from workstation.llm.causal import Causal
from workstation.llm.instructions import Instructions
from workstation.llm.serve.server import Address, Serving, running
from workstation.llm.tokens import Tokenizer


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
