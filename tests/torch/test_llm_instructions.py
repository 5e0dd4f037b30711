"""From conversations to the rows of a fine-tuning: what is asked for, what is kept apart, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
import tokenizers
import torch
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from workstation.errors import SettingError
from workstation.llm import answers, export, instructions
from workstation.llm.causal import Causal
from workstation.llm.corpus import CorpusError, StandardLibrary
from workstation.llm.finetune import AnswerLoss
from workstation.llm.instructions import Exchange, Instructions
from workstation.llm.model import IGNORED
from workstation.llm.prepare import kept_aside

pytest_plugins = ["llm_fixtures"]


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
    ("content", "says"),
    [
        ("x<|assistant|>y", r"line 2 has a message that spells <\|assistant\|>, which marks turns"),
        ("over<|end|>", r"line 2 has a message that spells <\|end\|>"),
        ("half \ud83d", "line 2 has a message that has half a character at place 6"),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_data_cannot_end_a_turn_or_speak_as_somebody_else(
    loaded: Causal, tmp_path: Path, role: str, content: str, says: str
) -> None:
    asked = [{role: content} if number == 2 else {} for number in (1, 2, 3)]
    turns = [{"user": f"a{number}", "assistant": "b"} | other for number, other in enumerate(asked)]
    lines = [{"messages": [{"role": role, "content": turn[role]} for role in turn]} for turn in turns]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    found = instructions.find(str(path))
    with pytest.raises(CorpusError, match=says):
        answers.rows(found.train + found.held_out, loaded.tokenizer, 128)


def test_a_line_ends_where_a_line_of_json_ends(tmp_path: Path) -> None:
    said = [f"{letter}\u2028\u2029\x85b" for letter in "abc"]
    turns = [[{"role": "user", "content": text}, {"role": "assistant", "content": "so"}] for text in said]
    path = tmp_path / "data.jsonl"
    lines = [json.dumps({"messages": each}, ensure_ascii=False) for each in turns]
    path.write_text("\r\n".join([*lines, ""]), encoding="utf-8", newline="")
    found = instructions.find(str(path))
    assert {each.messages[0]["content"] for each in found.train + found.held_out} == set(said)
    path.write_text("\n".join([*lines, "{"]), encoding="utf-8")
    with pytest.raises(CorpusError, match="line 4 is no JSON"):
        instructions.find(str(path))


def test_a_data_set_of_the_hub_is_a_conversation_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    turns = [[{"role": "user", "content": text}, {"role": "assistant", "content": "so"}] for text in "abc"]
    for name, column in (
        ("talk", {"messages": turns}),
        ("text", {"text": ["a"]}),
        ("gap", {"messages": [*turns, None]}),
    ):
        (tmp_path / name).mkdir()
        datasets.Dataset.from_dict(column).to_parquet(tmp_path / name / "train.parquet")
    found = instructions.find("hub:./talk")
    assert {each.messages[0]["content"] for each in found.train + found.held_out} == set("abc")
    with pytest.raises(CorpusError, match="has no column `messages` but text"):
        instructions.find("hub:./text")
    with pytest.raises(CorpusError, match=r"\./gap, row 3 has a message without"):
        instructions.find("hub:./gap")
