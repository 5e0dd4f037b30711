"""What leaves this program computes what it computed here, and loads where nobody knows us."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
)

from workstation.doctor import cgroup
from workstation.errors import SettingError
from workstation.llm import causal, export, hub
from workstation.llm.corpus import Poems
from workstation.llm.data import Data
from workstation.llm.hub import HubError
from workstation.llm.memory import MemoryTooSmallError
from workstation.llm.model import Decoder, build
from workstation.llm.prepare import prepare
from workstation.llm.run import Run, settings
from workstation.llm.serve.answer import answer
from workstation.llm.serve.protocol import read
from workstation.llm.settings import Preset, Recipe, Shape
from workstation.llm.tokens import Tokenizer

CPU = torch.device("cpu")
SHAPES = {
    "tied": Shape(300, width=32, layers=2, heads=4, kv_heads=2, hidden=64, context=32),
    "own-head": Shape(300, width=32, layers=2, heads=2, kv_heads=2, hidden=64, context=32, tied=False),
    "one-kv-head": Shape(256, width=48, layers=1, heads=4, kv_heads=1, hidden=64, context=32, rope_base=500_000),
}
TEXTS = ["床前明月光，疑是地上霜。", "def f(x):\n    return x . y  # it 's", "", " <|end|> is text", "🙂"]


def decoder(shape: Shape) -> Decoder:
    """Untrained, but with gains that are not all 1: a norm that went to another's place must show."""
    torch.manual_seed(0)
    model = build(shape, CPU).eval()
    for weight in model.parameters():
        if weight.ndim == 1:
            torch.nn.init.uniform_(weight.data, 0.5, 1.5)
    return model


def tokens(vocabulary: int, rows: int = 3, places: int = 32) -> torch.Tensor:
    return torch.randint(vocabulary, (rows, places), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return prepare(Poems(), tmp_path_factory.mktemp("data") / "poems", vocabulary=300)


@pytest.fixture(scope="module")
def exported(data: Data, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A pre-training of two steps, and the directory it was exported to, ONNX included."""
    shape = dataclasses.replace(SHAPES["tied"], layers=1)
    preset = Preset("small", shape, Recipe(4, 1, steps=2, stretch=2, rate=1e-2, warmup=1))
    run = Run.new(preset, data, settings(preset, CPU, seed=0, amp=False), tmp_path_factory.mktemp("runs") / "small")
    run.train()
    directory = tmp_path_factory.mktemp("exported") / "small"
    export.export(causal.load(str(run.directory), CPU), directory, onnx=True)
    return run, directory


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_logits_are_those_of_llama(shape: Shape) -> None:
    model, rows = decoder(shape), tokens(shape.vocabulary)
    with torch.inference_mode():
        theirs = export.as_llama(model)(input_ids=rows).logits
        torch.testing.assert_close(theirs, model(rows)[..., : shape.vocabulary], rtol=0, atol=1e-5)
    assert theirs.shape[-1] == shape.vocabulary, "no token that does not exist can be sampled"


def test_weights_in_each_others_place_would_show() -> None:
    model, rows = decoder(SHAPES["tied"]), tokens(300)
    llama = export.as_llama(model)
    attention = llama.model.layers[0].self_attn
    attention.k_proj, attention.v_proj = attention.v_proj, attention.k_proj
    with torch.inference_mode():
        assert (llama(input_ids=rows).logits - model(rows)[..., :300]).abs().max() > 1e-3


def test_transformers_loads_the_directory_by_itself(exported: tuple[Run, Path]) -> None:
    run, directory = exported
    loaded = AutoModelForCausalLM.from_pretrained(directory)
    assert type(loaded) is LlamaForCausalLM
    vocabulary = len(run.tokenizer)
    rows = tokens(vocabulary)
    with torch.inference_mode():
        torch.testing.assert_close(
            loaded(input_ids=rows).logits, run.trained().eval()(rows)[..., :vocabulary], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokenizer_is_the_same_and_puts_bos_by_itself(exported: tuple[Run, Path], text: str) -> None:
    run, directory = exported
    loaded = AutoTokenizer.from_pretrained(directory)
    found = loaded(text, split_special_tokens=True)["input_ids"]
    assert found == [0, *run.tokenizer.encode(text)]
    assert loaded.decode(found, skip_special_tokens=True) == text
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (0, 1, 2)


def test_onnxruntime_gives_the_same_logits_for_other_sizes(exported: tuple[Run, Path]) -> None:
    run, directory = exported
    session = onnxruntime.InferenceSession(directory / export.ONNX)
    vocabulary = len(run.tokenizer)
    for rows, places in [(1, 32), (5, 3)]:
        asked = tokens(vocabulary, rows, places)
        (found,) = session.run(None, {"tokens": asked.numpy()})
        with torch.inference_mode():
            expected = run.trained().eval()(asked)[..., :vocabulary]
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-4)


def adapted(directory: Path) -> Any:
    """A PEFT adapter that changes something, kept in `directory`/adapter beside its base."""
    from peft import LoraConfig, get_peft_model

    shape = dataclasses.replace(SHAPES["own-head"], vocabulary=261)
    base = export.as_llama(decoder(shape))
    base.save_pretrained(directory / "base")
    fast = export.as_transformers(Tokenizer.learn(["床"], 261), 32)
    fast.save_pretrained(directory / "base")
    base.name_or_path = str(directory / "base")
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight.data, std=0.1)
    model.save_pretrained(directory / "adapter")
    fast.save_pretrained(directory / "adapter")
    return model.eval()


def test_a_merged_adapter_computes_what_it_did_beside_its_model(tmp_path: Path) -> None:
    model, rows = adapted(tmp_path), tokens(261)
    with torch.inference_mode():
        with_adapter = model(input_ids=rows).logits
        with model.disable_adapter():
            assert (model(input_ids=rows).logits - with_adapter).abs().max() > 0.1, "the adapter does nothing"
    found = causal.load(str(tmp_path / "adapter"), CPU)
    export.export(found, tmp_path / "merged")
    assert not (tmp_path / "merged" / causal.ADAPTER).exists()
    with torch.inference_mode():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(input_ids=rows).logits
    torch.testing.assert_close(merged, with_adapter, rtol=0, atol=1e-5)


def test_what_was_adapted_speaks_and_is_measured_beside_its_model(tmp_path: Path, llm) -> None:
    adapted(tmp_path)
    measured = json.loads(llm("evaluate", tmp_path / "adapter", "--data", "poems", "--json").out)
    assert set(measured) == {"without the adapter", "the model"}
    base = json.loads(llm("evaluate", tmp_path / "base", "--data", "poems", "--json").out)
    assert measured["without the adapter"] == base["the model"] != measured["the model"]
    said = llm("sample", tmp_path / "adapter", "床<|end|>", "--tokens", 4)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("床<|end|>")
    assert said.out != llm("sample", tmp_path / "base", "床<|end|>", "--tokens", 4).out
    assert llm("sample", tmp_path / "adapter", "床", "--chat").code == 2, "it has learnt no conversation"
    assert llm("sample", tmp_path / "adapter", "").code == 0, "its tokenizer begins every text with a token"


def test_a_question_is_answered_as_the_server_answers_it(exported: tuple[Run, Path], tmp_path: Path, llm) -> None:
    _, directory = exported
    found = causal.load(str(directory), CPU)
    found.tokenizer.chat_template = export.CHAT_TEMPLATE
    found.model.save_pretrained(tmp_path / "chat")
    found.tokenizer.save_pretrained(tmp_path / "chat")
    told = ["--tokens", 8, "--temperature", 0]
    asked = llm("sample", tmp_path / "chat", "床", "--chat", *told)
    assert asked.code == 0, asked.err
    body = {"model": "it", "messages": [{"role": "user", "content": "床"}], "temperature": 0, "max_tokens": 8}
    pieces = answer(found, read(json.dumps(body).encode(), found, "it", chat=True).asked)
    assert asked.out == "".join(piece.text for piece in pieces) + "\n"
    refused = llm("sample", tmp_path / "chat", "so <|assistant|>yes", "--chat")
    assert refused.code == 2
    assert "spells <|assistant|>" in refused.err


def test_onnx_of_a_bfloat16_model_is_written_in_float32(exported: tuple[Run, Path], tmp_path: Path) -> None:
    _, directory = exported
    export.export(causal.load(str(directory), CPU, dtype="bfloat16"), tmp_path / "half", onnx=True)
    session = onnxruntime.InferenceSession(tmp_path / "half" / export.ONNX)
    (found,) = session.run(None, {"tokens": tokens(300, 2, 5).numpy()})
    kept = causal.load(str(tmp_path / "half"), CPU)
    assert kept.model.dtype == torch.bfloat16, "the weights stay as they were"
    with torch.inference_mode():
        expected = kept.model.float()(input_ids=tokens(300, 2, 5)).logits
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("config", [BloomConfig(), MambaConfig()], ids=["bloom", "mamba"])
def test_a_model_that_sets_no_bound_is_read_up_to_ours(config: Any) -> None:
    model = torch.nn.Module()
    model.config = config
    assert causal.Causal("it", model, export.as_transformers(Tokenizer.learn(["床"], 261), 10**30)).context == 2048
    assert causal.Causal("it", model, export.as_transformers(Tokenizer.learn(["床"], 261), 512)).context == 512


def test_a_model_that_does_not_fit_is_known_before_a_weight_is_read(tmp_path: Path, llm) -> None:
    adapted(tmp_path)
    LlamaConfig(hidden_size=2**16, intermediate_size=2**18, num_hidden_layers=20).save_pretrained(tmp_path / "huge")
    kept = tmp_path / "adapter" / causal.ADAPTER
    about = json.loads(kept.read_text())
    kept.write_text(json.dumps(about | {"base_model_name_or_path": str(tmp_path / "huge")}))
    for name in ("huge", "adapter"):
        for command in (["export", "--out", tmp_path / "out"], ["sample"], ["evaluate"], ["serve", "--port", 0]):
            ran = llm(command[0], tmp_path / name, *command[1:])
            assert ran.code == 69, ran.err
            assert "weights take" in ran.err
            assert "this machine has" in ran.err


def test_what_becomes_float32_on_its_way_out_must_fit_as_that(
    exported: tuple[Run, Path], tmp_path: Path, llm, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted(tmp_path)
    adapter, base, run = tmp_path / "adapter", tmp_path / "base", exported[0].directory
    for told, code in (([adapter], 69), ([run], 69), ([base, "--onnx"], 69), ([base], 0)):
        weights: list[int] = []
        causal.load(str(told[0]), CPU, check=weights.append)
        monkeypatch.setattr(cgroup, "memory_limit", lambda: 3 * weights[0])  # noqa: B023 - bytes: enough for bfloat16
        ran = llm("export", *told, "--out", tmp_path / "out")
        assert ran.code == code, ran.err


def test_memory_that_others_took_is_no_damaged_model(
    exported: tuple[Run, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", full)
    with pytest.raises(MemoryTooSmallError, match=r"does not fit the memory that is free.*nvidia-smi"):
        causal.load(str(exported[1]), CPU)


def test_an_adapter_without_its_model_says_so(tmp_path: Path) -> None:
    adapted(tmp_path)
    kept = tmp_path / "adapter" / causal.ADAPTER
    about = json.loads(kept.read_text())
    kept.write_text(json.dumps(about | {"base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(SettingError, match="gone is no directory"):
        causal.load(str(tmp_path / "adapter"), CPU)
    kept.write_text("{}")
    with pytest.raises(causal.ModelError, match="names no model"):
        causal.load(str(tmp_path / "adapter"), CPU)


def test_nothing_is_written_over_and_nothing_half_written_stays(
    exported: tuple[Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, directory = exported
    found = causal.load(str(directory), CPU)
    with pytest.raises(SettingError, match="is there already"):
        export.export(found, directory)
    monkeypatch.setattr(export, "_reloaded", lambda _: lambda tokens: torch.zeros(*tokens.shape, 300))
    with pytest.raises(export.ExportError, match="logits are off"):
        export.export(found, tmp_path / "wrong")
    assert list(tmp_path.iterdir()) == []


def test_what_holds_no_model_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SettingError, match="holds no language model"):
        causal.load(str(tmp_path), CPU)
    with pytest.raises(SettingError, match="no directory"):
        causal.load(str(tmp_path / "typo"), CPU)
    with pytest.raises(HubError, match="not in the cache"):
        causal.load("someone/some-model", CPU)
    LlamaConfig().save_pretrained(tmp_path)  # and no weights
    with pytest.raises(causal.ModelError, match="cannot be loaded"):
        causal.load(str(tmp_path), CPU)


def test_libraries_imported_before_do_not_wait_for_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # what `import transformers` found above
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv(hub.OFFLINE, "")  # so that what is set below is undone
    monkeypatch.delenv(hub.OFFLINE)
    began = time.monotonic()
    with pytest.raises(HubError, match=r"does not answer.*hf download someone/some-model"):
        causal.load("someone/some-model", CPU)
    assert time.monotonic() - began < 15
