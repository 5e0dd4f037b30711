"""A model is taught to answer: what is learnt, what is left alone, what goes on after a stop, what is refused."""

from __future__ import annotations

import dataclasses
import json
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Ran, workstation
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from workstation.errors import SettingError
from workstation.examples import llm_finetune
from workstation.llm import answers, causal, export, instructions
from workstation.llm.causal import Causal
from workstation.llm.corpus import CorpusError, StandardLibrary
from workstation.llm.finetune import AnswerLoss, Tuning, adapt, answer_loss, finetune
from workstation.llm.instructions import Exchange, Instructions
from workstation.llm.memory import MemoryTooSmallError
from workstation.llm.model import IGNORED
from workstation.llm.prepare import kept_aside
from workstation.llm.serve.answer import Asked, answer
from workstation.llm.tokens import Tokenizer
from workstation.llm.tuning import must_fit
from workstation.training.checkpoint import Checkpoints
from workstation.training.loop import Fit, Hook, fit
from workstation.training.settings import Settings

CPU = torch.device("cpu")
MARK = " (checked)"
Llm = Callable[..., Ran]


@pytest.fixture(scope="module")
def docstrings() -> Instructions:
    return instructions.docstrings()


@pytest.fixture(scope="module")
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
    found = causal.load(str(untrained), CPU)
    answers.give_chat_template(found.tokenizer)
    return found


def small(method: str = "lora", **more: Any) -> Tuning:
    return Tuning("somewhere", method=method, length=128, batch=4, epochs=2, rate=1e-3, rank=4, **more)


# ---------------------------------------------------------------------------------------------------------- the data


def test_what_is_measured_on_was_seen_neither_here_nor_in_pre_training(docstrings: Instructions) -> None:
    assert len(docstrings.train) > 1000
    assert len(docstrings.held_out) > 100
    assert not {each.answer for each in docstrings.train} & {each.answer for each in docstrings.held_out}
    aside = kept_aside(StandardLibrary())
    unseen = [each.text for each in StandardLibrary().documents() if each.name in aside]
    for exchange in docstrings.held_out:
        name = exchange.messages[0]["content"].split("\n")[1].split("(")[0]
        assert any(name in text for text in unseen), name


def test_both_languages_ask(docstrings: Instructions) -> None:
    chinese = sum("函数" in exchange.messages[0]["content"] for exchange in docstrings.train)
    assert 0.4 < chinese / len(docstrings.train) < 0.6


def test_only_the_answer_and_its_end_are_asked_for(docstrings: Instructions, loaded: Causal) -> None:
    exchanges = docstrings.train[:50]
    rows = answers.rows(exchanges, loaded.tokenizer, 128)
    asked = [loaded.tokenizer.decode(row[row != IGNORED]) for row in rows.targets]
    said = "".join(asked).split("<|end|>")
    assert sorted(said) == sorted(["", *(exchange.answer for exchange in exchanges)])


def test_what_is_not_asked_for_costs_nothing_and_teaches_nothing(docstrings: Instructions, loaded: Causal) -> None:
    rows = answers.rows(docstrings.train[:20], loaded.tokenizer, 128)
    logits = loaded.model(input_ids=rows.tokens, position_ids=rows.positions, use_cache=False).logits
    logits.retain_grad()
    every = F.cross_entropy(logits.flatten(0, 1), rows.targets.flatten().clamp(min=0), reduction="none")
    asked = (rows.targets != IGNORED).flatten()
    loss = AnswerLoss(loaded.model)(rows.tokens, rows.positions, rows.targets)
    torch.testing.assert_close(loss, every[asked].mean())
    F.cross_entropy(logits.flatten(0, 1), rows.targets.flatten(), ignore_index=IGNORED).backward()
    gradient = logits.grad.flatten(0, 1).abs().sum(dim=1)
    assert (gradient[~asked] == 0).all()
    assert (gradient[asked] > 0).all()


def test_packed_conversations_do_not_see_one_another(docstrings: Instructions, loaded: Causal) -> None:
    rows = answers.rows(docstrings.train[:60], loaded.tokenizer, 256)
    assert rows.filled > 0.9
    tokens, positions = rows.tokens[:1], rows.positions[:1]
    border = int((positions[0] == 0).nonzero()[1])
    changed = tokens.clone()
    changed[0, :border] = tokens[0, :border].flip(0)

    def logits(tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return loaded.model(input_ids=tokens, position_ids=positions, use_cache=False).logits

    packed, beside_others = logits(tokens, positions), logits(changed, positions)
    assert torch.equal(packed[0, border:], beside_others[0, border:])
    alone = logits(tokens[:, border:], positions[:, border:])
    torch.testing.assert_close(packed[:, border:], alone, rtol=0, atol=1e-5)
    running_on = torch.arange(256)[None]
    assert not torch.equal(logits(tokens, running_on)[0, border:], logits(changed, running_on)[0, border:])


def test_a_conversation_that_fits_no_row_is_left_out_and_counted(docstrings: Instructions, loaded: Causal) -> None:
    rows = answers.rows(docstrings.train[:200], loaded.tokenizer, 40)
    assert rows.conversations + rows.too_long == 200
    assert rows.too_long > 0
    with pytest.raises(CorpusError, match="none of the 200 conversations fits a row of 4 tokens"):
        answers.rows(docstrings.train[:200], loaded.tokenizer, 4)


def test_a_tokenizer_keeps_its_own_chat_template_and_a_strange_one_gets_a_plain_one(loaded: Causal) -> None:
    ours = loaded.tokenizer.chat_template
    answers.give_chat_template(loaded.tokenizer)
    assert loaded.tokenizer.chat_template == ours == export.CHAT_TEMPLATE
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    learnt = tokenizers.ByteLevelBPETokenizer()
    learnt.train_from_iterator(["what a text"], 300, special_tokens=["</s>"])
    strange = PreTrainedTokenizerFast(tokenizer_object=learnt._tokenizer)
    with pytest.raises(SettingError, match="no end token"):
        answers.give_chat_template(strange)
    strange.eos_token = "</s>"
    answers.give_chat_template(strange)
    exchange = Exchange(({"role": "user", "content": "why"}, {"role": "assistant", "content": "so"}))
    tokens, begin = answers.spelled(exchange, strange)
    assert strange.decode(tokens[:begin]) == "### user\nwhy\n### assistant\n"
    assert strange.decode(tokens[begin:]).startswith("so</s>")


# ------------------------------------------------------------------------------------------------------ the training


def test_micro_batches_of_unequal_answers_give_the_gradient_of_the_whole(
    docstrings: Instructions, loaded: Causal
) -> None:
    rows = answers.rows(docstrings.train[:40], loaded.tokenizer, 128)
    batch = tuple(tensor[:8] for tensor in (rows.tokens, rows.positions, rows.targets, rows.targets))

    def gradients(accumulate: int) -> list[torch.Tensor]:
        model = AnswerLoss(loaded.model).requires_grad_(True)
        still = torch.optim.SGD(model.parameters(), lr=0.0)
        weigh = lambda targets: int((targets != IGNORED).sum())  # noqa: E731
        fit(
            model,
            [batch],
            lambda loss, _: loss,
            still,
            epochs=1,
            settings=Settings(),
            accumulate=accumulate,
            weight=weigh,
        )
        return [weight.grad.clone() for weight in model.parameters()]

    for one, many in zip(gradients(1), gradients(4), strict=True):
        torch.testing.assert_close(one, many, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_stopped_fine_tuning_goes_on_to_the_same_bits(
    docstrings: Instructions, untrained: Path, tmp_path: Path, method: str
) -> None:
    class Stop(Hook):
        def step(self, fit: Fit) -> None:
            if fit.step == 3:
                raise KeyboardInterrupt

    def run(*hooks: Hook) -> tuple[AnswerLoss, list[float]]:
        found = causal.load(str(untrained), CPU)
        answers.give_chat_template(found.tokenizer)
        rows = answers.rows(docstrings.train[:30], found.tokenizer, 128)
        torch.manual_seed(0)
        model = AnswerLoss(adapt(found.model, small(method)))
        return model, finetune(model, rows, small(method), Settings(), hooks)

    straight, losses = run()
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoints(tmp_path, every_seconds=0), Stop())
    resumed, again = run(Checkpoints(tmp_path, every_seconds=0))
    assert again == losses
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))
    whole = 4 * sum(weight.numel() for weight in straight.parameters())
    kept = sum(file.stat().st_size for file in next(tmp_path.glob("finetune-*")).iterdir())
    assert (kept < whole) == (method == "lora"), "of an adapted model the additions alone are kept"


def test_an_adapter_begins_as_nothing_and_leaves_the_model_alone(docstrings: Instructions, loaded: Causal) -> None:
    rows = answers.rows(docstrings.train[:30], loaded.tokenizer, 128)
    before = {name: weight.detach().clone() for name, weight in loaded.model.named_parameters()}
    first = answer_loss(AnswerLoss(loaded.model), rows, Settings())
    model = AnswerLoss(adapt(loaded.model, small()))
    assert answer_loss(model, rows, Settings()) == pytest.approx(first, rel=1e-6)
    finetune(model, rows, small(), Settings())
    after = {
        name.replace(".base_layer", ""): weight for name, weight in model.model.base_model.model.named_parameters()
    }
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert answer_loss(model, rows, Settings()) < first


def test_recomputing_activations_changes_memory_and_nothing_else(docstrings: Instructions, untrained: Path) -> None:
    def losses(recompute: bool) -> list[float]:
        found = causal.load(str(untrained), CPU)
        answers.give_chat_template(found.tokenizer)
        rows = answers.rows(docstrings.train[:10], found.tokenizer, 128)
        torch.manual_seed(0)
        return finetune(AnswerLoss(adapt(found.model, small(recompute=recompute))), rows, small(), Settings())

    assert losses(True) == pytest.approx(losses(False), rel=1e-5)


@pytest.fixture(scope="module")
def taught(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of the model's weights, trained by the command on the docstrings."""
    directory = tmp_path_factory.mktemp("runs") / "taught"
    told = ["--method", "full", "--batch", 8, "--rate", "5e-3", "--out", directory]
    assert workstation("llm", "finetune", untrained, *told).code == 0
    return directory


def test_full_fine_tuning_learns_more_than_which_tokens_answers_are_made_of(taught: Path) -> None:
    report = json.loads((taught / "metrics.json").read_text())
    assert report["trained"] == report["parameters"]
    assert report["loss_after"] < report["counted_loss"] - 0.5 < report["loss_before"] - 0.5


def said(model: Causal, exchange: Exchange) -> str:
    question = model.tokenizer.apply_chat_template(
        list(exchange.messages[:-1]), add_generation_prompt=True, return_dict=False
    )
    return "".join(piece.text for piece in answer(model, Asked(tuple(question), 60, 0.0, 0)))


def marked(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """The same, but every answer ends in a word that no docstring has."""
    return [
        Exchange((*each.messages[:-1], {"role": "assistant", "content": each.answer + MARK}))
        for each in exchanges
        if len(each.answer) < 80
    ]


def test_an_adapter_teaches_what_the_model_never_did_and_is_exported_with_it(
    taught: Path, docstrings: Instructions, tmp_path: Path, llm: Llm
) -> None:
    lines = [json.dumps({"messages": each.messages}, ensure_ascii=False) for each in marked(docstrings.train)[:400]]
    (tmp_path / "marked.jsonl").write_text("\n".join(lines), encoding="utf-8")
    ran = llm("finetune", taught, "--data", tmp_path / "marked.jsonl", "--batch", 4, "--out", tmp_path / "adapter")
    assert ran.code == 0, ran.err
    report = json.loads((tmp_path / "adapter" / "metrics.json").read_text())
    assert report["trained"] < 0.5 * report["parameters"]
    assert report["loss_after"] < report["loss_before"]
    asked = docstrings.held_out[:10]
    before, after = causal.load(str(taught), CPU), causal.load(str(tmp_path / "adapter"), CPU)
    assert not any(said(before, exchange).endswith(MARK) for exchange in asked)
    answers_after = [said(after, exchange) for exchange in asked]
    assert sum(text.endswith(MARK) for text in answers_after) >= 8, answers_after

    assert llm("export", tmp_path / "adapter", "--out", tmp_path / "merged").code == 0
    merged = causal.load(str(tmp_path / "merged"), CPU)
    assert type(merged.model) is LlamaForCausalLM
    tokens = torch.arange(5, 90)[None]
    with torch.inference_mode():
        torch.testing.assert_close(
            merged.model(input_ids=tokens).logits, after.model(input_ids=tokens).logits, rtol=0, atol=1e-5
        )
    assert [said(merged, exchange) for exchange in asked[:3]] == answers_after[:3]
    assert llm("finetune", tmp_path / "adapter").code == 2, "an adapter of an adapter is not made"


def test_qlora_trains_beside_quantised_weights(
    taught: Path, docstrings: Instructions, tmp_path: Path, llm: Llm
) -> None:
    lines = [json.dumps({"messages": each.messages}) for each in docstrings.train[:60]]
    (tmp_path / "some.jsonl").write_text("\n".join(lines))
    ran = llm("finetune", taught, "--data", tmp_path / "some.jsonl", "--method", "qlora", "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report["training_losses"][-1] < report["training_losses"][0]


@pytest.mark.slow
def test_the_lesson_teaches_a_model_that_has_only_read_to_answer(settings: Settings) -> None:
    result = llm_finetune.run(settings)
    assert result.holds(), result


@pytest.mark.slow
def test_a_lesson_of_one_step_breaks_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_finetune, "READING", 1)
    monkeypatch.setattr(llm_finetune, "TUNING", dataclasses.replace(llm_finetune.TUNING, batch=1000))
    result = llm_finetune.run(Settings(epochs=1))
    assert not result.holds(), result


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2 is no JSON object with `messages`"),
        ('{"text": "a"}', "line 2 is no JSON object with `messages`"),
        ('{"messages": [{"role": "user"}]}', "line 2 has a message without role or content"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "line 2 does not end with an answer"),
        (
            '{"messages": [{"role": "bird", "content": "a"}, {"role": "assistant", "content": "b"}]}',
            "whose role is not",
        ),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]}',
            "does not end with",
        ),
    ],
)
def test_a_line_that_is_no_conversation_is_named(tmp_path: Path, line: str, says: str) -> None:
    good = json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})
    path = tmp_path / "data.jsonl"
    path.write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(CorpusError, match=says):
        instructions.find(str(path))
    path.write_text(f"{good}\n\n{good}\n")
    with pytest.raises(CorpusError, match="holds 1 different conversations"):
        instructions.find(str(path))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "no model is named"),
        (["/nowhere/at/all"], 2, "no directory"),
        (["someone/some-model"], 69, "the model someone/some-model is not in the cache"),
        (["MODEL", "--data", "nothing"], 65, "no instructions are called 'nothing'"),
        (["MODEL", "--length", "3"], 65, "fits a row of 3 tokens"),
        (["MODEL", "--rate", "7"], 2, "not between 0 and 1"),
        (["MODEL", "--batch", "6", "--accumulate", "4"], 2, "Choose numbers that divide"),
        (["--resume", "/tmp", "--rank", "4"], 2, "with --resume"),
        (["--resume", "/tmp"], 2, "holds no fine-tuning"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    untrained: Path, llm: Llm, arguments: list[str], code: int, says: str
) -> None:
    ran = llm("finetune", *(untrained if argument == "MODEL" else argument for argument in arguments))
    assert ran.code == code, ran.err
    assert says in ran.err
    assert not (Path.home() / "runs").exists(), "nothing was begun"


def test_conversations_that_are_not_utf8_are_named(untrained: Path, tmp_path: Path, llm: Llm) -> None:
    (tmp_path / "old.jsonl").write_bytes('{"messages": "床前"}'.encode("gb18030"))
    ran = llm("finetune", untrained, "--data", tmp_path / "old.jsonl")
    assert (ran.code, ran.out) == (65, "")
    assert "old.jsonl is not UTF-8 (byte 14)" in ran.err


def test_a_model_whose_loss_is_no_number_is_not_kept(untrained: Path, tmp_path: Path, llm: Llm) -> None:
    found = causal.load(str(untrained), CPU)
    next(iter(found.model.parameters())).data.fill_(float("nan"))
    found.model.save_pretrained(tmp_path / "broken")
    found.tokenizer.save_pretrained(tmp_path / "broken")
    (tmp_path / "data.jsonl").write_text("\n".join(
        json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}]})
        for answer in "bcdefghijk"
    ))  # fmt: skip
    ran = llm("finetune", tmp_path / "broken", "--data", tmp_path / "data.jsonl", "--out", tmp_path / "run")
    assert ran.code == 70
    assert "finetune: the loss is nan at step 1, in epoch 1 of 3" in ran.err
    assert [each.name for each in (tmp_path / "run").iterdir() if not each.name.startswith("events.")] == [
        "settings.json"
    ]


def test_a_disk_that_fills_leaves_no_half_of_a_model(untrained: Path, tmp_path: Path, llm: Llm) -> None:
    good = json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})
    (tmp_path / "data.jsonl").write_text(f"{good}\n{good.replace('b', 'c')}\n")
    told = ["finetune", untrained, "--data", tmp_path / "data.jsonl", "--epochs", 1, "--out", tmp_path / "run"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # bytes of a file: the additions take 200 000
        ran = llm(*told)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert ran.code == 65
    assert f"could not save to {tmp_path / 'run'}" in ran.err
    assert not (tmp_path / "run" / "model").exists()
    assert llm("finetune", "--resume", tmp_path / "run").code == 0, "with room again it goes on"


def test_a_machine_too_small_is_told_before_a_weight_is_read(tmp_path: Path, llm: Llm) -> None:
    LlamaConfig(hidden_size=2**16, intermediate_size=2**18, num_hidden_layers=20).save_pretrained(tmp_path / "huge")
    ran = llm("finetune", tmp_path / "huge", "--method", "full")
    assert ran.code == 69
    assert "before the first activation, and this machine has" in ran.err
    assert not (tmp_path / "runs").exists()


def test_a_gpu_too_small_is_told_what_would_fit() -> None:
    eight_billion = 8_030_000_000
    must_fit(eight_billion, "lora", 80 * 10**9, "an H100")
    with pytest.raises(MemoryTooSmallError, match="--method lora would fit"):
        must_fit(eight_billion, "full", 80 * 10**9, "an H100")
    with pytest.raises(MemoryTooSmallError, match="--method qlora would fit"):
        must_fit(eight_billion, "lora", 12 * 10**9, "a GPU")
    with pytest.raises(MemoryTooSmallError, match="choose a smaller model"):
        must_fit(eight_billion, "lora", 4 * 10**9, "a GPU")
    with pytest.raises(MemoryTooSmallError, match="--method qlora would fit"):
        must_fit(eight_billion, "lora", 32 * 10**9, "a laptop", half=False)
    must_fit(eight_billion, "full", 80 * 10**9, "one of two H100s", shares=2)
    with pytest.raises(MemoryTooSmallError, match=r"needs 29\.9 GiB"):  # what is read whole, however many share
        must_fit(eight_billion, "full", 24 * 10**9, "one of 64 GPUs", shares=64)
