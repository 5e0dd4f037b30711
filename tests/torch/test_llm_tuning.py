"""What fine-tuning makes of the model it is given, and of the machine: rows, memory, precision."""

from __future__ import annotations

import gc
import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_line import Ran
from torch.nn import functional as F
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from workstation.llm import causal, tuning
from workstation.llm import finetune as tuned
from workstation.llm.causal import Causal
from workstation.llm.export import ExportError, export
from workstation.llm.finetune import AnswerLoss, Tuning, adapt, keeps_apart, quantisation
from workstation.llm.instructions import Instructions
from workstation.llm.memory import MemoryTooSmallError
from workstation.llm.model import IGNORED
from workstation.llm.tuning import must_fit
from workstation.training.loop import Fit, Hook
from workstation.training.settings import Settings

pytest_plugins = ["llm_fixtures"]

CPU = torch.device("cpu")
Llm = Callable[..., Ran]
H = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
ARCHITECTURES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**H, intermediate_size=64, num_key_value_heads=1)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2)),
    "opt": lambda: OPTForCausalLM(OPTConfig(**H, ffn_dim=64, word_embed_proj_dim=32)),
    "mamba": lambda: MambaForCausalLM(MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=8)),
    "gemma": lambda: Gemma2ForCausalLM(
        Gemma2Config(**H, intermediate_size=64, num_key_value_heads=1, head_dim=16, final_logit_softcapping=0.1)
    ),
}


class Collecting(Hook):
    """Whether Python may look for dead cycles, at each step."""

    def __init__(self) -> None:
        self.seen: set[bool] = set()

    def step(self, fit: Fit) -> None:  # noqa: ARG002 - the hook's signature
        self.seen.add(gc.isenabled())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_conversations_share_a_row_only_where_none_sees_its_neighbour(name: str) -> None:
    torch.manual_seed(0)
    model = ARCHITECTURES[name]().eval()
    assert keeps_apart(model, Settings()) == (name not in {"opt", "mamba"})
    tokens = torch.randint(300, (1, 32))
    other = torch.cat([tokens[:, :12].flip(1), tokens[:, 12:]], dim=1)
    told = {"position_ids": torch.cat([torch.arange(12), torch.arange(20)])[None], "use_cache": False}
    with torch.inference_mode():
        one, two = (model(input_ids=each, **told).logits[:, 12:] for each in (tokens, other))
    assert torch.equal(one, two) == keeps_apart(model, Settings())


def test_a_model_that_sees_neighbours_is_given_a_row_for_each_conversation(
    untrained: Path, docstrings: Instructions, tmp_path: Path, llm: Llm, monkeypatch: pytest.MonkeyPatch
) -> None:
    collecting = Collecting()
    monkeypatch.setattr(tuning, "ProgressBar", lambda: collecting)
    tokenizer = causal.load(str(untrained), CPU).tokenizer
    shape = H | {"vocab_size": len(tokenizer), "max_position_embeddings": 256}
    OPTForCausalLM(OPTConfig(**shape, ffn_dim=64, word_embed_proj_dim=32)).save_pretrained(tmp_path / "opt")
    tokenizer.save_pretrained(tmp_path / "opt")
    lines = [json.dumps({"messages": each.messages}) for each in docstrings.train[:40]]
    (tmp_path / "some.jsonl").write_text("\n".join(lines))
    told = ["--data", tmp_path / "some.jsonl", "--epochs", 1, "--batch", 4]
    for model, packed in ((tmp_path / "opt", False), (untrained, True)):
        out = tmp_path / f"out-{packed}"
        ran = llm("finetune", model, *told, "--out", out)
        assert ran.code == 0, ran.err
        report = json.loads((out / "metrics.json").read_text())
        assert report["packed"] == packed
        assert (report["rows"] == report["conversations"]["train"]) != packed
        assert ("OPTForCausalLM would see a conversation's neighbours" in ran.err) != packed
        assert f"tokens a second: {report['tokens_per_second']:,.0f}; memory at the peak: " in ran.out
        assert report["peak_memory"] > 100 * 2**20, "the process with PyTorch in it"
    assert collecting.seen == {False}, "a GPU would wait for Python's dead cycles"
    assert gc.isenabled()


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_a_loss_in_parts_is_the_loss_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = AnswerLoss(ARCHITECTURES[name]())
    tokens, positions = torch.randint(300, (4, 32)), torch.arange(32).expand(4, -1)
    targets = tokens.roll(-1, 1).masked_fill(torch.rand(4, 32) < 0.6, IGNORED)
    logits = model.model(input_ids=tokens, position_ids=positions, use_cache=False).logits
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    whole = torch.autograd.grad(expected, list(model.parameters()))
    sizes: list[int] = []
    model.model.lm_head.register_forward_hook(lambda _, __, found: sizes.append(found.numel()))
    for limit in (2**27, 2000):
        sizes.clear()
        monkeypatch.setattr(tuned, "LOGITS", limit)
        loss = model(tokens, positions, targets)
        torch.testing.assert_close(loss, expected)
        for part, one in zip(torch.autograd.grad(loss, list(model.parameters())), whole, strict=True):
            torch.testing.assert_close(part, one, rtol=1e-4, atol=1e-6)
        if name == "llama":  # Gemma's logits are not its head's, and so stay whole
            assert max(sizes) <= min(limit + 300, 300 * int((targets != IGNORED).sum()))
        with torch.inference_mode():
            torch.testing.assert_close(model(tokens, positions, targets), expected)
    assert model._plain == (name == "llama")


def test_what_merging_in_bfloat16_changes_is_said(
    untrained: Path, docstrings: Instructions, tmp_path: Path, llm: Llm
) -> None:
    found = causal.load(str(untrained), CPU)
    found.model.bfloat16().save_pretrained(tmp_path / "half")  # as nearly every model of the hub is kept
    found.tokenizer.save_pretrained(tmp_path / "half")
    lines = [json.dumps({"messages": each.messages}) for each in docstrings.train[:60]]
    (tmp_path / "some.jsonl").write_text("\n".join(lines))
    told = ["--data", tmp_path / "some.jsonl", "--rate", "1e-2", "--out", tmp_path / "adapter"]
    assert llm("finetune", tmp_path / "half", *told).code == 0
    ran = llm("export", tmp_path / "adapter", "--out", tmp_path / "merged")
    assert ran.code == 0, ran.err
    said = re.search(r"rounded to bfloat16: up to (\S+) off, of (\S+); the likeliest token is the same at", ran.out)
    assert said, ran.out
    tokens = torch.arange(5, 90)[None]
    with torch.inference_mode():
        adapted, merged = (
            causal.load(str(tmp_path / name), CPU, dtype=dtype).model(input_ids=tokens).logits.float()
            for name, dtype in (("adapter", "float32"), ("merged", "auto"))
        )
    assert 0 < float((adapted - merged).abs().max()) < 3 * float(said[1]) < 0.1 * float(said[2])


def test_an_adapter_that_merging_would_change_is_not_exported(loaded: Causal, tmp_path: Path) -> None:
    model = adapt(loaded.model, Tuning("somewhere", rank=4))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    next(module for module in model.modules() if hasattr(module, "merge")).get_delta_weight = lambda _: 0.0
    with pytest.raises(ExportError, match="the adapter's logits are off by"):
        export(Causal("broken", model, loaded.tokenizer), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_four_bits_are_chosen_where_a_gpu_and_bitsandbytes_are(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, specs = torch.device("cuda"), importlib.util.find_spec
    assert "Int8WeightOnly" in str(quantisation("qlora", gpu)), "the image has torchao alone"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "bitsandbytes" or specs(name))
    chosen = quantisation("qlora", gpu)
    assert (chosen.load_in_4bit, chosen.bnb_4bit_quant_type) == (True, "nf4")
    assert chosen.bnb_4bit_compute_dtype == torch.bfloat16
    assert "Int8WeightOnly" in str(quantisation("qlora", CPU)), "bitsandbytes' four bits are a GPU's"
    assert quantisation("lora", gpu) is None


def test_a_gpu_too_small_is_told_what_would_fit() -> None:
    eight_billion = 8_030_000_000
    must_fit(eight_billion, "lora", 80 * 10**9, "an H100")
    with pytest.raises(MemoryTooSmallError, match="--method lora would fit"):
        must_fit(eight_billion, "full", 80 * 10**9, "an H100")
    with pytest.raises(MemoryTooSmallError, match="--method qlora would fit"):
        must_fit(eight_billion, "lora", 12 * 10**9, "a GPU")
    with pytest.raises(MemoryTooSmallError, match="choose a smaller model"):
        must_fit(eight_billion, "qlora", 6 * 10**9, "a GPU with eight bits a weight")
    must_fit(eight_billion, "qlora", 6 * 10**9, "a GPU with four", nf4=True)
    with pytest.raises(MemoryTooSmallError, match="--method qlora would fit"):
        must_fit(eight_billion, "lora", 6 * 10**9, "a GPU with four", nf4=True)
    with pytest.raises(MemoryTooSmallError, match=r"full of .* needs 134\.\d GiB"):
        must_fit(eight_billion, "full", 141 * 10**9, "an H200, with autocast's copy of each matrix")
    must_fit(eight_billion, "full", 141 * 10**9, "a machine without", half=False)
    with pytest.raises(MemoryTooSmallError, match="--method qlora would fit"):
        must_fit(eight_billion, "lora", 32 * 10**9, "a laptop", half=False)
    must_fit(eight_billion, "full", 80 * 10**9, "one of two H100s", shares=2)
    with pytest.raises(MemoryTooSmallError, match=r"needs 29\.9 GiB"):  # what is read whole, however many share
        must_fit(eight_billion, "full", 24 * 10**9, "one of 64 GPUs", shares=64)
