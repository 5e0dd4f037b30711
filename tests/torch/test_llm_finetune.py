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
from transformers import LlamaConfig, LlamaForCausalLM

from workstation.examples import llm_finetune
from workstation.llm import answers, causal
from workstation.llm.causal import Causal
from workstation.llm.finetune import AnswerLoss, Tuning, adapt, answer_loss, finetune
from workstation.llm.instructions import Exchange, Instructions
from workstation.llm.model import IGNORED
from workstation.llm.serve.answer import Asked, answer
from workstation.training.checkpoint import Checkpoints
from workstation.training.loop import Fit, Hook, fit
from workstation.training.settings import Settings

pytest_plugins = ["llm_fixtures"]

CPU = torch.device("cpu")
MARK = " (checked)"
Llm = Callable[..., Ran]


def small(method: str = "lora", **more: Any) -> Tuning:
    return Tuning("somewhere", method=method, length=128, batch=4, epochs=2, rate=1e-3, rank=4, **more)


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
