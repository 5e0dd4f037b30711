"""Praise or blame in two languages: what is denied decides."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from workstation.examples import reviews, text_classification, wordpiece
from workstation.examples.text_classification import TEST, TRAIN, Reader, bag_of_words, from_the_end, scores, to_learn
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings


@pytest.mark.slow
def test_a_reader_understands_denial_in_both_languages(settings: Settings) -> None:
    result = text_classification.run(settings)
    assert result.holds(), result


def test_a_run_cut_short_repeats_to_the_bit_and_breaks_the_promise() -> None:
    first, second = (text_classification.run(Settings(seed=1, epochs=1)) for _ in range(2))
    assert first == second
    assert not first.holds()


@pytest.mark.parametrize("language", [0, 1])
def test_the_two_reviews_of_a_pair_have_the_same_words_and_opposite_verdicts(language: int) -> None:
    pairs = reviews.pairs(TEST // 2, seed=0)
    tokenizer = wordpiece.learn(to_learn(seed=0)[0])
    for aside, opinion in zip(pairs[::2], pairs[1::2], strict=True):
        assert aside.positive != opinion.positive
        pieces = [Counter(tokenizer.encode(review.say(language)).tokens) for review in (aside, opinion)]
        assert pieces[0] == pieces[1]


def test_whatever_counting_has_learnt_it_is_right_on_half_of_the_pairs() -> None:
    tokenizer = wordpiece.learn(to_learn(seed=0)[0])
    counting = bag_of_words(tokenizer.get_vocab_size())
    torch.nn.init.normal_(counting.weight)
    assert scores(counting, tokenizer, reviews.pairs(TEST // 2, seed=0), Settings()) == [0.5, 0.5]


def test_what_the_test_asks_was_kept_from_the_training() -> None:
    learnt, pairs = reviews.to_learn(2 * TRAIN, seed=0), reviews.pairs(TEST // 2, seed=0)
    denied_near = {review.word for review in learnt if review.denied != "nothing"}
    assert denied_near.isdisjoint({review.word for review in pairs})
    assert {review.word for review in pairs} <= {review.word for review in learnt}
    assert {review.thing for review in pairs}.isdisjoint({review.thing for review in learnt})


def test_verdicts_are_balanced_so_one_answer_for_all_is_chance() -> None:
    assert to_learn(seed=0)[1].double().mean() == pytest.approx(0.5, abs=0.03)


def test_a_word_means_the_same_verdict_in_both_languages() -> None:
    assert len({word for pair in reviews.PRAISE + reviews.BLAME for word in pair}) == 2 * (20 + 20)
    review = reviews.pairs(1, seed=0)[1]
    assert review.denial[0] in review.say(0)
    assert review.denial[1] in review.say(1)
    assert "{" not in review.say(0) + review.say(1)


def test_padding_changes_no_answer() -> None:
    seed_everything(0)
    reader = Reader(pieces=50).eval()
    texts = torch.randint(5, 50, (3, 7))
    padded = torch.nn.functional.pad(texts, (0, 4), value=wordpiece.PAD)
    assert torch.allclose(reader(texts), reader(padded), atol=1e-6)


def test_a_text_is_turned_round_up_to_its_padding() -> None:
    assert from_the_end(torch.tensor([[7, 8, 9, 0, 0], [5, 6, 7, 8, 9]])).tolist() == [[9, 8, 7, 0, 0], [9, 8, 7, 6, 5]]
