"""Labels in one language, questions in another; and which BERT it was."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from transformers import BertConfig, BertModel

from workstation.examples import guestbook, hub, multilingual, tiny_bert, wordpiece
from workstation.examples.hub import ModelError
from workstation.training.settings import Settings


@pytest.mark.slow
def test_labels_in_english_are_enough_for_chinese(settings: Settings) -> None:
    result = multilingual.run(settings)
    assert result.holds(), result
    assert result.model.startswith("tiny BERT")


def test_pretraining_on_few_guests_repeats_to_the_bit_and_breaks_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guestbook, "GUESTS", 128)
    first, second = (multilingual.run(Settings(seed=1, epochs=1)) for _ in range(2))
    assert first == second
    assert not first.holds()


def test_guests_whose_remarks_have_nothing_in_common_teach_it_no_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    firsts, seconds = guestbook.guests(seed=0)
    monkeypatch.setattr(guestbook, "guests", lambda _: (firsts, seconds[1:] + seconds[:1]))
    result = multilingual.run(Settings())
    assert not result.holds(), result


def test_a_folder_asked_for_by_name_is_used_and_named_and_where_damaged_is_one_clear_error(tmp_path: Path) -> None:
    tiny_bert.pretrain(tmp_path, Settings())
    result = multilingual.run(Settings(), model=str(tmp_path))
    assert result.model == str(tmp_path)
    assert result.holds(), result
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        multilingual.run(Settings(), model=str(tmp_path))
    assert caught.value.remedy


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_no_model_of_the_hub_is_looked_for_unless_it_is_named(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(hub, "locate", lambda name: pytest.fail(f"looked for {name}"))
    monkeypatch.setattr(tiny_bert, "pretrain", Mock(side_effect=InterruptedError))  # that far, and no further
    with pytest.raises(InterruptedError):
        multilingual.run(Settings(torch.device(device)))


def test_pretraining_sees_all_words_and_no_label_and_the_test_sees_new_things() -> None:
    texts, verdicts = guestbook.labelled(seed=0)
    assert verdicts.double().mean() == 0.5
    assert all(text.isascii() for text in texts), "labels are English"
    for language, ascii_only in [(0, True), (1, False)]:
        asked, answers = guestbook.unseen(seed=0, language=language)
        assert answers.double().mean() == 0.5
        assert all(text.isascii() == ascii_only for text in asked)
        assert set(asked).isdisjoint(texts)


def test_a_table_of_english_pieces_makes_all_chinese_alike() -> None:
    english = wordpiece.learn(guestbook.labelled(seed=0)[0])
    praise, blame = (english.encode(text).tokens for text in ("菜真的好", "菜真的差"))
    assert praise == blame == ["[UNK]"] * 4


def test_bert_base_has_the_parameters_it_is_known_for() -> None:
    with torch.device("meta"):
        weights = sum(weight.numel() for weight in BertModel(BertConfig()).parameters())
    assert weights == 109_482_240
