"""How good a language model is: one number in three units, and the counting that it has to beat."""

from __future__ import annotations

import math
from pathlib import Path

import llm_client
import numpy as np
import pytest
import torch

from workstation.llm import evaluate, export
from workstation.llm.causal import Causal
from workstation.llm.corpus import Poems
from workstation.llm.data import VALIDATION, Rows
from workstation.llm.model import build
from workstation.llm.ngram import NGram
from workstation.llm.prepare import kept_aside, prepare
from workstation.llm.sample import Sampling, generate
from workstation.llm.serve.answer import Asked, answer
from workstation.llm.settings import Shape
from workstation.llm.tokens import Tokenizer
from workstation.training.settings import Settings

pytest_plugins = ["llm_fixtures"]


def test_loss_perplexity_and_bits_per_byte_are_one_number_in_three_units() -> None:
    score = evaluate.Score(nats=8 * math.log(2), tokens=4, bytes=2)
    assert score.loss == pytest.approx(2 * math.log(2))
    assert score.perplexity == pytest.approx(4)
    assert score.bits_per_byte == pytest.approx(4)


def test_a_score_does_not_depend_on_how_the_rows_are_cut(tmp_path: Path) -> None:
    data = prepare(Poems(), tmp_path / "poems", vocabulary=512)
    torch.manual_seed(0)
    shape = Shape(vocabulary=512, width=32, layers=2, heads=2, kv_heads=1, hidden=64, context=32)
    model = build(shape, torch.device("cpu"))
    lengths = Tokenizer.load(data.directory).byte_lengths()
    rows, seen = Rows(data, VALIDATION, 32), set[int]()
    model.register_forward_pre_hook(lambda _, told: seen.add(len(told[0])))
    scores = [evaluate.score(model, rows, lengths, Settings(), size=size) for size in (4, 5, 64)]
    assert len(rows) % 5, "the last five are not all there"
    assert seen == {4, 5, min(64, len(rows))}, "each number of rows is another model to a compiler"
    for score in scores:
        assert score.nats == pytest.approx(scores[0].nats, rel=1e-5)
        assert score.tokens == data.about.tokens[VALIDATION]
        assert score.bytes == data.about.bytes[VALIDATION]


def test_a_model_in_anybodys_format_gets_the_score_that_its_own_has(tmp_path: Path) -> None:
    data = prepare(Poems(), tmp_path / "poems", vocabulary=512)
    torch.manual_seed(0)
    shape = Shape(vocabulary=512, width=32, layers=2, heads=2, kv_heads=1, hidden=64, context=32)
    model, tokenizer = build(shape, torch.device("cpu")), Tokenizer.load(data.directory)
    ours = evaluate.score(model, Rows(data, VALIDATION, 32), tokenizer.byte_lengths(), Settings())
    aside = kept_aside(Poems())
    texts = [poem.text for poem in Poems().documents() if poem.name in aside]
    assert max(len(tokenizer.encode(text)) for text in texts) > 32, "some are read in pieces"
    theirs = evaluate.read(Causal("it", export.as_llama(model), export.as_transformers(tokenizer, 32)), texts)
    assert (theirs.tokens, theirs.bytes) == (ours.tokens, ours.bytes)
    assert theirs.nats == pytest.approx(ours.nats, rel=1e-5)


def test_what_grows_by_a_token_is_read_without_cudnn_whose_attention_plans_for_each_length(
    tokenizer: Tokenizer,
) -> None:
    found = llm_client.noise(tokenizer)
    shape = Shape(vocabulary=64, width=32, layers=1, heads=2, kv_heads=1, hidden=64, context=32)
    ours, seen = build(shape, torch.device("cpu")), []

    def chosen() -> tuple[bool, ...]:
        kernels = torch.backends.cuda
        asked = (kernels.cudnn_sdp_enabled, kernels.flash_sdp_enabled, kernels.mem_efficient_sdp_enabled)
        return tuple(each() for each in (*asked, kernels.math_sdp_enabled))

    for model in (found.model, ours):
        model.register_forward_pre_hook(lambda *_: seen.append(chosen()))
    before = chosen()
    evaluate.read(found, ["one", "and another"])
    list(answer(found, Asked((5, 6), 3, 1.0, seed=0)))
    list(generate(ours, [5, 6], Sampling(most=3)))
    assert len(seen) >= 2 + 1 + 1
    assert set(seen) == {(False, True, True, True)}
    assert chosen() == before == (True, True, True, True)


def test_text_that_spells_a_special_token_is_measured_as_text(tokenizer: Tokenizer) -> None:
    found = llm_client.noise(tokenizer)
    said = "so <|end|> it goes on"
    assert evaluate.read(found, [said]).tokens == len(tokenizer.encode(said)) + 1


def test_an_n_gram_models_probabilities_add_up_to_one() -> None:
    text = np.random.default_rng(0).integers(0, 6, 200)
    model = NGram.count([text], vocabulary=6, order=3)
    for history in ([], [1], [2, 3], [5, 5], [4, 0]):
        every = [model.losses([np.array([*history, token])])[-1] for token in range(6)]
        assert np.exp(-np.array(every)).sum() == pytest.approx(1)


def test_an_n_gram_model_is_kneser_ney_worked_out_by_hand() -> None:
    # "a b a c" twice over: after a come b and c, twice each; b and c each follow one token, a follows three things.
    text = np.array([0, 1, 0, 2, 0, 1, 0, 2])
    model = NGram.count([text], vocabulary=3, order=2)
    # Bigrams: ^a 1, ab 2, ba 2, ac 2, ca 1. Seen once: 2, twice: 3, so D = 2 / (2 + 6) = 1/4.
    # Unigrams by what came before: a 3, b 1, c 1. Once: 2, twice: 0, so D = 1; three kinds; uniform over 3.
    lower_b = (1 - 1) / 5 + 1 * 3 / 5 * (1 / 3)
    expected = (2 - 1 / 4) / 4 + (1 / 4) * 2 / 4 * lower_b
    assert math.exp(-model.losses([np.array([0, 1])])[1]) == pytest.approx(expected)


def test_longer_memory_predicts_a_text_with_memory_better() -> None:
    text = np.tile(np.array([0, 1, 2, 0, 2, 1]), 50)  # the next token follows from the last two
    one, two, three = (NGram.count([text], 3, order).losses([text[:60]]).mean() for order in (1, 2, 3))
    assert one > two > 3 * three


def test_too_large_a_vocabulary_is_not_counted() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        NGram.count([np.array([1, 2])], 10_000, 5)
