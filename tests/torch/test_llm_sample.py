"""A model that is given a beginning: what is drawn, what is refused, what is said of it."""

from __future__ import annotations

import socket
from pathlib import Path

import llm_client
import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from workstation.llm import causal, export
from workstation.llm.sample import Sampling, choose
from workstation.llm.tokens import Tokenizer

pytest_plugins = ["llm_fixtures"]


@pytest.fixture(scope="module")
def speaker(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of a model that speaks."""
    directory = tmp_path_factory.mktemp("models") / "noise"
    export.export(llm_client.noise(tokenizer), directory)
    return directory


@pytest.mark.parametrize("temperature", ["1e-300", "1e-40", "1e-4"])
def test_as_good_as_no_temperature_is_none(speaker: Path, llm, temperature: str) -> None:
    cold, colder = (llm("sample", speaker, "床", "--temperature", each) for each in (temperature, "0"))
    assert cold.code == 0, cold.err
    assert cold.out == colder.out


def test_the_likeliest_that_together_have_a_share_are_drawn_and_no_others() -> None:
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()

    def drawn(top_p: float) -> set[int]:
        told = Sampling(temperature=1.0, top_p=top_p)
        return {choose(logits, told, torch.Generator().manual_seed(seed)) for seed in range(100)}

    assert [drawn(share) for share in (0.0, 0.39, 0.41, 0.89, 1.0)] == [{1}, {1}, {1, 3}, {1, 2, 3}, {0, 1, 2, 3}]


def test_what_a_command_does_is_said_as_it_is_written(llm) -> None:
    assert "Answer over HTTP as OpenAI's API does." in llm("serve", "--help").out


def test_an_address_is_taken_before_a_large_model_is_read(llm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workstation.llm.causal.load", lambda *_, **__: pytest.fail("read the model"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = llm("serve", "/tmp", "--port", taken.getsockname()[1])
    assert ran.code == 2
    assert "cannot be listened on" in ran.err


def test_a_model_that_keeps_no_keys_and_values_is_read_from_the_beginning(speaker: Path, tmp_path: Path, llm) -> None:
    fast = causal.load(str(speaker), torch.device("cpu")).tokenizer
    torch.manual_seed(0)
    shape = {"vocab_size": len(fast), "hidden_size": 32, "num_hidden_layers": 1}
    model = MambaForCausalLM(MambaConfig(**shape, bos_token_id=0, eos_token_id=1)).eval()
    model.save_pretrained(tmp_path / "model")
    fast.save_pretrained(tmp_path / "model")
    prompt = torch.tensor([fast("明月")["input_ids"]])
    whole = model.generate(prompt, max_new_tokens=6, do_sample=False)[0, prompt.shape[1] :]
    ran = llm("sample", tmp_path / "model", "明月", "--tokens", 6, "--temperature", 0)
    assert ran.out == f"明月{fast.decode(whole, skip_special_tokens=True)}\n", ran.err


def test_too_long_a_prompt_says_how_long_it_may_be(speaker: Path, llm) -> None:
    ran = llm("sample", speaker, "床前明月光" * 1000)
    assert (ran.code, ran.out) == (2, "")
    assert f"and the model reads {llm_client.CONTEXT} in all" in ran.err


def test_a_model_whose_texts_begin_with_no_token_needs_a_prompt(speaker: Path, tmp_path: Path, llm) -> None:
    found = causal.load(str(speaker), torch.device("cpu"))
    found.tokenizer._tokenizer.post_processor = None
    found.model.save_pretrained(tmp_path / "model")
    found.tokenizer.save_pretrained(tmp_path / "model")
    ran = llm("sample", tmp_path / "model")
    assert ran.code == 2
    assert "Give it one." in ran.err
