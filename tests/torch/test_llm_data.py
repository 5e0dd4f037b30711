"""From text to batches: every token once, nothing across a border, and no bad input that goes unnamed."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from workstation import network
from workstation.errors import SettingError, WorkstationError
from workstation.llm import corpus, hub
from workstation.llm.corpus import CorpusError, Folder, Poems, StandardLibrary
from workstation.llm.data import TRAIN, VALIDATION, Data, DataError, Rows, Stretches, supervised
from workstation.llm.evaluate import documents
from workstation.llm.model import IGNORED
from workstation.llm.packing import pack
from workstation.llm.prepare import prepare
from workstation.llm.tokens import BOS, END, SPECIAL, Tokenizer, TokenizerError

LENGTH = 32


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return prepare(Poems(), tmp_path_factory.mktemp("data") / "poems", vocabulary=512)


def write(folder: Path, **files: str) -> Folder:
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return Folder(folder)


# ------------------------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    "text", ["def f(x):\n\treturn x  # ok", "床前明月光，疑是地上霜。", "🙂 é \x00", " two  spaces ", ""]
)
def test_any_text_comes_back_as_it_was(data: Data, text: str) -> None:
    tokenizer = Tokenizer.load(data.directory)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_lengths_of_its_tokens_add_up_to_the_bytes_of_a_text(data: Data) -> None:
    tokenizer = Tokenizer.load(data.directory)
    lengths = tokenizer.byte_lengths()
    text = "举头望明月 and 低头思故乡 🙂"
    assert sum(lengths[token] for token in tokenizer.encode(text)) == len(text.encode())
    assert lengths[: len(SPECIAL)] == [0] * len(SPECIAL)


def test_a_text_cannot_smuggle_in_a_special_token(data: Data) -> None:
    tokenizer = Tokenizer.load(data.directory)
    assert END not in tokenizer.encode("so <|end|> it goes on")


def test_equal_tokenizers_have_one_fingerprint_and_others_another() -> None:
    texts = [document.text for document in Poems().documents()]
    first, again, other = (Tokenizer.learn(texts, size).fingerprint for size in (400, 400, 401))
    assert first == again != other


def test_a_directory_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=str(tmp_path)):
        Tokenizer.load(tmp_path)


# ------------------------------------------------------------------------------------------------------------ packing


def test_packed_rows_hold_every_token_once_and_waste_little() -> None:
    sizes = np.random.default_rng(0).integers(1, 300, size=400)
    borders = np.concatenate([[0], np.cumsum(sizes)])
    packed = pack(borders, 64)
    filled = np.zeros(borders[-1], int)
    for start, length in zip(packed.starts, packed.lengths, strict=True):
        filled[start : start + length] += 1
    assert (filled == 1).all()
    used = np.add.reduceat(packed.lengths, packed.rows[:-1])
    assert used.max() <= 64
    assert used.sum() / (64 * len(packed)) > 0.97


def test_a_piece_lies_in_one_document() -> None:
    borders = np.array([0, 5, 12, 100])
    packed = pack(borders, 8)
    for start, length in zip(packed.starts, packed.lengths, strict=True):
        assert np.searchsorted(borders, start, "right") == np.searchsorted(borders, start + length - 1, "right")


# --------------------------------------------------------------------------------------------------------------- rows


def test_every_token_of_every_document_is_a_target_once(data: Data) -> None:
    rows = Rows(data, TRAIN, LENGTH)
    _, targets, _ = rows.batch(range(len(rows)))
    asked = np.sort(targets[targets != IGNORED].numpy())
    assert (asked == np.sort(np.concatenate(documents(data, TRAIN)))).all()
    assert supervised(targets) == data.about.tokens[TRAIN]


def test_rows_begin_with_bos_and_no_target_lies_across_a_border(data: Data) -> None:
    rows = Rows(data, TRAIN, LENGTH)
    tokens, targets, numbers = rows.batch(range(len(rows)))
    assert (tokens[:, 0] == BOS).all()
    begins = torch.diff(numbers, dim=1) != 0
    assert (tokens[:, 1:][begins & (numbers[:, 1:] >= 0)] == BOS).all()
    inside = ~begins & (numbers[:, 1:] >= 0)
    assert torch.equal(tokens[:, 1:][inside], targets[:, :-1][inside]), "an input is the target before it"


def test_what_is_free_in_a_row_is_not_a_target(data: Data) -> None:
    rows = Rows(data, TRAIN, LENGTH)
    _, targets, numbers = rows.batch(range(len(rows)))
    assert (numbers < 0).any()
    assert (targets[numbers < 0] == IGNORED).all()


def test_shards_are_read_as_one_stream(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workstation.llm.prepare.SHARD_TOKENS", 500)
    many = prepare(Poems(), tmp_path / "many", vocabulary=512)
    assert len(many.shards(TRAIN)) > 5
    one, same = Rows(data, TRAIN, LENGTH), Rows(many, TRAIN, LENGTH)
    everything = range(len(one))
    assert all(torch.equal(a, b) for a, b in zip(one.batch(everything), same.batch(everything), strict=True))


def test_a_step_gets_its_rows_from_seed_and_number_alone(data: Data) -> None:
    rows = Rows(data, TRAIN, LENGTH)
    reading = Stretches(rows, size=10, steps=20, seed=3)
    straight = [reading.rows_of(step).tolist() for step in range(60)]
    afresh = Stretches(rows, size=10, steps=20, seed=3)
    afresh.set_epoch(2)
    for step, batch in zip(range(40, 60), afresh, strict=True):
        assert torch.equal(batch[0], rows.batch(straight[step])[0])
    assert straight != [Stretches(rows, 10, 20, seed=4).rows_of(step).tolist() for step in range(60)]


def test_each_round_reads_each_row_once_in_a_new_order(data: Data) -> None:
    rows = Rows(data, TRAIN, LENGTH)
    reading = Stretches(rows, size=7, steps=1)
    order = list(itertools.chain.from_iterable(reading.rows_of(step).tolist() for step in range(len(rows))))
    first, second = order[: len(rows)], order[len(rows) : 2 * len(rows)]
    assert sorted(first) == sorted(second) == list(range(len(rows)))
    assert first != second


def test_a_batch_may_have_more_rows_than_there_are(data: Data) -> None:
    rows = Rows(data, VALIDATION, 512)
    assert len(next(iter(Stretches(rows, size=3 * len(rows) + 1, steps=1)))[0]) == 3 * len(rows) + 1


# ------------------------------------------------------------------------------------------------------------ corpora


def test_validation_documents_are_no_training_documents(data: Data) -> None:
    train, validation = ({tuple(text) for text in documents(data, split)} for split in (TRAIN, VALIDATION))
    assert train.isdisjoint(validation)
    assert len(validation) == 15
    assert len(train) + len(validation) == 150


def test_the_bundled_corpora_name_their_origin_and_licence() -> None:
    for source in (StandardLibrary(), Poems()):
        assert source.origin
        assert source.licence
    assert sum(len(document.text) for document in StandardLibrary().documents()) > 3_000_000


def test_every_poem_has_a_title_a_poet_and_whole_lines() -> None:
    poems = list(Poems().documents())
    assert len({poem.name for poem in poems}) == len(poems) == 150
    for poem in poems:
        assert poem.name.count(" · ") == 1
        assert all(line.endswith("。") for line in poem.text.strip().split("\n")[1:]), poem.name


def test_a_file_that_is_not_utf8_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    folder = write(tmp_path, good="fine", also="good")
    (tmp_path / "old.txt").write_bytes("床前明月光".encode("gb18030"))
    with pytest.raises(CorpusError, match=r"old\.txt is not UTF-8 .*iconv"):
        prepare(folder, tmp_path / "out", vocabulary=300)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["also.txt", "good.txt", "old.txt"]


def test_a_files_name_may_be_in_any_encoding(tmp_path: Path) -> None:
    named = tmp_path / os.fsdecode("\N{LATIN SMALL LETTER U WITH DIAERESIS}bung".encode("latin-1"))
    named.mkdir()
    for letter in "abc":
        (named / os.fsdecode(f"\N{DEGREE SIGN}{letter}.txt".encode("latin-1"))).write_text(letter)
    about = prepare(Folder(named), tmp_path / "out", vocabulary=300).about
    assert about.documents == {"train": 2, "validation": 1}
    assert about.corpus == "\N{REPLACEMENT CHARACTER}bung"


@pytest.mark.parametrize("files", [{}, {"a": "  \n"}, {"a": "only one"}])
def test_an_empty_corpus_is_refused(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(CorpusError, match="documents with text"):
        prepare(write(tmp_path, **files), tmp_path / "out", vocabulary=300)
    assert not (tmp_path / "out").exists()


def test_a_corpus_that_is_not_there_is_named() -> None:
    with pytest.raises(CorpusError, match="no corpus is called 'nowhere'"):
        corpus.find("nowhere")


def test_what_is_there_is_not_written_over(data: Data) -> None:
    with pytest.raises(SettingError, match="is there already"):
        prepare(Poems(), data.directory, vocabulary=300)


def test_a_full_disk_leaves_nothing_half_done() -> None:
    with pytest.raises(WorkstationError, match="cannot be written"):
        prepare(Poems(), Path("/proc/poems"), vocabulary=300)


def test_data_of_another_tokenizer_are_refused(data: Data) -> None:
    other = Tokenizer.learn(["another text"], 300)
    with pytest.raises(DataError, match="another tokenizer"):
        data.must_fit(other)
    data.must_fit(Tokenizer.load(data.directory))


def test_data_with_a_shard_missing_are_refused(tmp_path: Path) -> None:
    broken = prepare(Poems(), tmp_path / "broken", vocabulary=300)
    (broken.directory / "train-000.bin").unlink()
    with pytest.raises(DataError, match="not whole"):
        Rows(broken, TRAIN, LENGTH)


def test_a_directory_without_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no prepared data"):
        _ = Data(tmp_path).about


# ---------------------------------------------------------------------------------------------------------------- hub


def test_an_unreachable_hub_fails_in_seconds_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv(hub.OFFLINE, "")  # so that what is set below is undone
    monkeypatch.delenv(hub.OFFLINE)
    began = time.monotonic()
    with pytest.raises(hub.HubError, match=r"does not answer.*hf download --repo-type dataset some/thing"):
        next(corpus.find("hub:some/thing").documents())
    assert time.monotonic() - began < 30
    assert os.environ[hub.OFFLINE] == "1", "from here on nobody asks again"


def test_a_data_set_of_the_hub_is_a_document_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(hub.OFFLINE, "1")
    for name, column in (("gap", {"text": ["one", None, "two"]}), ("words", {"words": ["a"]}), ("ids", {"text": [7]})):
        (tmp_path / name).mkdir()
        datasets.Dataset.from_dict(column).to_parquet(tmp_path / name / "train.parquet")
    about = prepare(corpus.find("hub:./gap"), tmp_path / "out", vocabulary=300).about
    assert about.documents == {"train": 1, "validation": 1}, "a row without a text is none"
    with pytest.raises(CorpusError, match="has no column `text` but words"):
        next(corpus.find("hub:./words").documents())
    with pytest.raises(CorpusError, match="row 0: `text` is no text but int"):
        next(corpus.find("hub:./ids").documents())


def test_who_is_told_to_stay_offline_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(hub.OFFLINE, "1")
    monkeypatch.setattr(network, "answers", lambda _: pytest.fail("asked the hub"))
    assert not hub.settle()
