"""Translation in both directions, and the three masks."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from workstation.examples import phrasebook, translation, wordpiece
from workstation.examples.decoding import exact, translate
from workstation.examples.phrasebook import COUNTS, chinese_number, english_day, english_number
from workstation.examples.translation import (
    LONGEST,
    Translator,
    both_ways,
    shifted,
    to_learn_and_to_test,
)
from workstation.examples.wordpiece import LAST, PAD
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings


@pytest.mark.slow
def test_unseen_sentences_are_translated_without_a_mistake(settings: Settings) -> None:
    result = translation.run(settings)
    assert result.holds(), result


def test_a_run_cut_short_repeats_to_the_bit_and_breaks_the_promise() -> None:
    first, second = (translation.run(Settings(seed=1, epochs=1)) for _ in range(2))
    assert first == second
    assert not first.holds()


def test_without_the_causal_mask_the_loss_is_better_and_no_translation_is_right() -> None:
    learnt, unseen = to_learn_and_to_test(seed=0)
    tokenizer = wordpiece.learn(text for sentence in learnt for text in (sentence.english, sentence.chinese))
    losses = {}
    for causal in (True, False):
        seed_everything(0)
        translator = Translator(tokenizer.get_vocab_size(), causal=causal)
        losses[causal] = translation.train(translator, *both_ways(tokenizer, learnt), Settings(epochs=2))[-1]
    assert losses[False] < losses[True] / 3
    source, target = both_ways(tokenizer, unseen[:50])
    assert not exact(translate(translator, source, Settings()), target).any()


def untrained(causal: bool = True) -> Translator:
    seed_everything(0)
    return Translator(pieces=60, causal=causal).eval()


@pytest.mark.parametrize("causal", [True, False])
def test_what_comes_later_is_seen_only_without_the_mask(causal: bool) -> None:
    translator, source, said = untrained(causal), torch.randint(5, 60, (2, 9)), torch.randint(5, 60, (2, 8))
    changed = said.clone()
    changed[:, 5:] = 7
    before, after = (translator(source, words)[:, :5] for words in (said, changed))
    assert torch.allclose(before, after, atol=1e-5) == causal


def test_padding_changes_no_answer() -> None:
    translator, source, said = untrained(), torch.randint(5, 60, (2, 9)), torch.randint(5, 60, (2, 8))
    padded = translator(F.pad(source, (0, 6), value=PAD), F.pad(said, (0, 3), value=PAD))
    assert torch.allclose(translator(source, said), padded[:, :8], atol=1e-5)


def test_padding_does_not_count_in_the_loss() -> None:
    logits, target = torch.randn(2, 6, 60), torch.randint(5, 60, (2, 6))
    longer = F.pad(target, (0, 4), value=PAD)
    assert torch.isclose(translation.loss(logits, target), translation.loss(F.pad(logits, (0, 0, 0, 4)), longer))


def test_greedy_says_at_each_place_what_it_finds_likeliest_after_its_own_words() -> None:
    translator, source = untrained(), torch.randint(5, 60, (3, 9))
    said = translate(translator, source, Settings())
    likeliest = translator(source, shifted(said)).argmax(dim=2)
    over = F.pad((said == LAST).cumsum(dim=1), (1, 0))[:, :-1] > 0
    assert said.shape == (3, LONGEST)
    assert torch.equal(said, likeliest.masked_fill(over, PAD))


def test_one_wrong_piece_or_one_too_many_is_a_mistake() -> None:
    target = torch.tensor([[7, 8, LAST]]).repeat(4, 1)
    said = torch.tensor([[7, 8, LAST, PAD], [7, 9, LAST, PAD], [7, 8, LAST, 8], [7, LAST, PAD, PAD]])
    assert exact(said, target).tolist() == [True, False, False, False]


def test_a_target_is_the_other_language_and_its_shift_begins_with_a_mark() -> None:
    learnt, _ = to_learn_and_to_test(seed=0)
    tokenizer = wordpiece.learn(text for sentence in learnt for text in (sentence.english, sentence.chinese))
    source, target = both_ways(tokenizer, learnt)
    assert torch.equal(source[: len(learnt)], target[len(learnt) :])
    assert torch.equal(source[len(learnt) :], target[: len(learnt)])
    assert tokenizer.decode(target[0].tolist()).replace(" ", "") == learnt[0].chinese
    assert torch.equal(shifted(target)[:, 1:], target[:, :-1])
    assert source.shape[1] <= LONGEST


def test_unseen_means_that_its_count_was_in_no_sentence_to_learn_from() -> None:
    kept_back = phrasebook.kept_back(seed=0)
    learnt, unseen = to_learn_and_to_test(seed=0)
    for count in kept_back:
        assert not any(f" {english_number(count)} " in sentence.english for sentence in learnt)
    assert {word for sentence in unseen for word in sentence.english.split()} >= {"January", "bought"}
    # Its parts were: nobody could guess what a word means that he has never met.
    words = {word for sentence in learnt for word in sentence.english.replace("-", " ").split()}
    assert all(set(english_number(count).split("-")) <= words for count in kept_back)


@pytest.mark.parametrize(
    ("number", "english", "chinese"),
    [
        (2, "two", "二"),
        (10, "ten", "十"),
        (14, "fourteen", "十四"),
        (40, "forty", "四十"),
        (99, "ninety-nine", "九十九"),
    ],
)
def test_numbers_are_named_as_people_do(number: int, english: str, chinese: str) -> None:
    assert (english_number(number), chinese_number(number)) == (english, chinese)


def test_every_count_and_day_has_a_name_of_its_own() -> None:
    assert len({english_number(count) for count in COUNTS}) == len({chinese_number(count) for count in COUNTS}) == 98
    assert len({english_day(day) for day in range(1, 32)}) == 31
    assert [english_day(day) for day in (1, 12, 20, 21, 30, 31)] == [
        "first", "twelfth", "twentieth", "twenty-first", "thirtieth", "thirty-first",
    ]  # fmt: skip


def test_no_sentence_names_a_day_that_no_calendar_has() -> None:
    made = " ".join(sentence.english for part in to_learn_and_to_test(seed=0) for sentence in part)
    short = ["February thirtieth", *(f"{month} thirty-first" for month in ("April", "June", "September", "November"))]
    assert [day for day in [*short, "February thirty-first"] if day in made] == []
    assert "February twenty-ninth" in made
    assert "October thirty-first" in made


def test_two_things_are_liang_and_the_second_is_er() -> None:
    sentences = phrasebook.sentences(200, seed=0, counts={2})
    assert all("两" in sentence.chinese for sentence in sentences)
    assert any("二日" in sentence.chinese for sentence in sentences)
