"""A corpus becomes a tokenizer and shards of tokens: whole, or not there."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from workstation.llm.corpus import Corpus, CorpusError, Document
from workstation.llm.data import ABOUT, SPLITS, TRAIN, VALIDATION, About, Data, token_type
from workstation.llm.tokens import END, Tokenizer
from workstation.training.rundir import must_be_new, new_directory, write_json

VALIDATION_SHARE, VALIDATION_MOST = 10, 1000  # one document in so many, and no more than that
LEARNT_FROM = 500_000_000  # characters: the merges of a larger corpus are those of its beginning
SHARD_TOKENS = 100_000_000
TOGETHER = 256  # documents encoded at once, on all cores


def prepare(corpus: Corpus, directory: Path, vocabulary: int, tokenizer: Tokenizer | None = None) -> Data:
    """Write `directory`, which must not exist yet; learn a tokenizer from the training documents unless one is given.

    Raises CorpusError where there is no text, RunDirectoryError where there is no room.
    """
    must_be_new(directory)
    aside = kept_aside(corpus)  # reads all of it once: what cannot be read is known before anything is written
    with new_directory(directory) as partial:
        _write(corpus, aside, partial, vocabulary, tokenizer)
    return Data(directory)


def _write(corpus: Corpus, aside: set[str], directory: Path, vocabulary: int, tokenizer: Tokenizer | None) -> None:
    if tokenizer is None:
        texts = (document.text for document in _texts(corpus) if document.name not in aside)
        tokenizer = Tokenizer.learn(_first(texts, LEARNT_FROM), vocabulary)
    tokenizer.save(directory)
    splits = {split: _Split(directory, split, len(tokenizer)) for split in SPLITS}
    documents = _texts(corpus)
    while together := list(itertools.islice(documents, TOGETHER)):
        encoded = tokenizer.encode_all([document.text for document in together])
        for document, tokens in zip(together, encoded, strict=True):
            splits[VALIDATION if document.name in aside else TRAIN].add(document, [*tokens, END])
    for split in splits.values():
        split.close()
    about = About(
        corpus=corpus.name,
        origin=corpus.origin,
        licence=corpus.licence,
        tokenizer=tokenizer.fingerprint,
        vocabulary=len(tokenizer),
        documents={name: len(split.borders) - 1 for name, split in splits.items()},
        tokens={name: split.borders[-1] for name, split in splits.items()},
        bytes={name: split.bytes for name, split in splits.items()},
    )
    write_json(directory / ABOUT, asdict(about))


def _texts(corpus: Corpus) -> Iterator[Document]:
    return (document for document in corpus.documents() if document.text.strip())


def kept_aside(corpus: Corpus) -> set[str]:
    """The validation documents, by their names alone: the same ones whatever else the corpus holds."""
    names = [document.name for document in _texts(corpus)]
    if len(names) < 2:
        raise CorpusError(
            f"{corpus.origin} holds {len(names)} documents with text in them",
            remedy="Give at least two: one to learn from and one to validate on.",
        )
    # A file's name may have bytes that are in no text: they come back as they were.
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
    return set(ranked[: min(max(1, len(names) // VALIDATION_SHARE), VALIDATION_MOST)])


def _first(texts: Iterator[str], characters: int) -> Iterator[str]:
    for text in texts:
        yield text
        characters -= len(text)
        if characters <= 0:
            return


@dataclass
class _Split:
    """The shards of one split, as they grow."""

    directory: Path
    name: str
    vocabulary: int
    bytes: int = 0
    borders: list[int] = field(default_factory=lambda: [0])
    _shard: list[np.ndarray] = field(default_factory=list)
    _waiting: int = 0  # tokens in `_shard`
    _shards: int = 0

    def add(self, document: Document, tokens: list[int]) -> None:
        self._shard.append(np.asarray(tokens, token_type(self.vocabulary)))
        self.borders.append(self.borders[-1] + len(tokens))
        self.bytes += len(document.text.encode())
        self._waiting += len(tokens)
        if self._waiting >= SHARD_TOKENS:
            self._flush()

    def close(self) -> None:
        self._flush()
        np.asarray(self.borders, "<i8").tofile(self.directory / f"{self.name}.borders")

    def _flush(self) -> None:
        if self._shard:
            np.concatenate(self._shard).tofile(self.directory / f"{self.name}-{self._shards:03d}.bin")
            self._shards += 1
            self._shard, self._waiting = [], 0
