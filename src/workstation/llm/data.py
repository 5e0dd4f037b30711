"""Tokens on disk, mapped into memory, and the batches that are read from them."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workstation.errors import WorkstationError
from workstation.llm.model import IGNORED
from workstation.llm.packing import pack
from workstation.llm.tokens import BOS, PAD, Tokenizer

ABOUT = "data.json"
TRAIN, VALIDATION = SPLITS = ("train", "validation")


class DataError(WorkstationError):
    """The prepared data cannot be used as they are. Nothing was changed."""

    exit_code = 65


@dataclass(frozen=True)
class About:
    """What `prepare` wrote beside the shards. A count for each split: documents, tokens, bytes of text."""

    corpus: str
    origin: str
    licence: str
    tokenizer: str  # its fingerprint
    vocabulary: int
    documents: dict[str, int]
    tokens: dict[str, int]
    bytes: dict[str, int]


def token_type(vocabulary: int) -> np.dtype[Any]:
    """Two bytes a token where they suffice, little-endian on every machine."""
    return np.dtype("<u2" if vocabulary <= 2**16 else "<u4")


@dataclass(frozen=True)
class Data:
    """A directory that `prepare` made: SPLIT-000.bin … hold the documents' tokens one after another, each document
    closed by END; SPLIT.borders says where each begins."""

    directory: Path

    @cached_property
    def about(self) -> About:
        try:
            return About(**json.loads((self.directory / ABOUT).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"{self.directory} holds no prepared data", remedy="Make them: workstation llm prepare."
            ) from error

    def must_fit(self, tokenizer: Tokenizer) -> None:
        """DataError where another tokenizer wrote these tokens: the same number would be another word."""
        if tokenizer.fingerprint != self.about.tokenizer:
            raise DataError(
                f"{self.directory} was written with another tokenizer than this model's",
                remedy="Use the data that the model was trained on, or prepare new ones with its tokenizer: "
                "workstation llm prepare --tokenizer DIR.",
            )

    def shards(self, split: str) -> list[NDArray[Any]]:
        kind = token_type(self.about.vocabulary)
        try:
            found = [np.memmap(path, kind, "r") for path in sorted(self.directory.glob(f"{split}-*.bin"))]
        except (OSError, ValueError) as error:
            raise self._incomplete(split) from error
        if sum(len(shard) for shard in found) != self.about.tokens[split]:
            raise self._incomplete(split)
        return found

    def borders(self, split: str) -> NDArray[np.int64]:
        try:
            return np.fromfile(self.directory / f"{split}.borders", "<i8").astype(np.int64)
        except OSError as error:
            raise self._incomplete(split) from error

    def _incomplete(self, split: str) -> DataError:
        return DataError(
            f"the {split} tokens in {self.directory} are not whole", remedy="Prepare them again in a new directory."
        )


class Rows:
    """One split, packed into rows of `length` places (see `packing`)."""

    def __init__(self, data: Data, split: str, length: int) -> None:
        self.length = length
        self._shards = data.shards(split)
        self._begins = [0, *np.cumsum([len(shard) for shard in self._shards]).tolist()]
        self._pack = pack(data.borders(split), length)

    def __len__(self) -> int:
        return len(self._pack)

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, targets and the number of each place's document in its row, (rows, length) each.

        A piece t₁ … tₙ gives the inputs BOS, t₁ … tₙ₋₁ and the targets t₁ … tₙ: every token of every document is a
        target once, and none is asked for across a border.
        """
        tokens = np.full((len(rows), self.length), PAD, np.int64)
        targets = np.full((len(rows), self.length), IGNORED, np.int64)
        documents = np.full((len(rows), self.length), -1, np.int32)
        for line, row in enumerate(rows):
            at = 0
            for number, piece in enumerate(range(self._pack.rows[row], self._pack.rows[row + 1])):
                text = self._read(int(self._pack.starts[piece]), int(self._pack.lengths[piece]))
                end = at + len(text)
                tokens[line, at], tokens[line, at + 1 : end] = BOS, text[:-1]
                targets[line, at:end] = text
                documents[line, at:end] = number
                at = end
        return torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(documents)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """All of them, in order."""
        for first in range(0, len(self), size):
            yield self.batch(range(first, min(first + size, len(self))))

    def _read(self, start: int, length: int) -> NDArray[Any]:
        shard = bisect_right(self._begins, start) - 1  # a document lies in one shard
        begin = start - self._begins[shard]
        return self._shards[shard][begin : begin + length]


@dataclass
class Stretches:
    """What `fit` walks: epoch e is the steps from e·steps on, each a global batch of `size` rows.

    Which rows a step gets follows from the seed and the step's number alone, so the position that must be saved is
    that number, and a resumed run reads on where it stopped. The rows come in a new order each time round.
    """

    rows: Rows
    size: int
    steps: int
    seed: int = 0
    masked: bool = True  # hand the documents' numbers on
    last: int | None = None  # no step from this one on: the last epoch may be shorter
    _epoch: int = field(default=0, repr=False)
    _drawn: tuple[int, NDArray[np.int64]] | None = field(default=None, repr=False)

    def set_epoch(self, epoch: int) -> None:
        """Called by `fit`."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """The model's inputs (tokens, targets and, when masked, documents), then the targets once more for `weight`."""
        end = (self._epoch + 1) * self.steps
        for step in range(self._epoch * self.steps, end if self.last is None else min(end, self.last)):
            tokens, targets, documents = self.rows.batch(self.rows_of(step))
            yield (tokens, targets, documents, targets) if self.masked else (tokens, targets, targets)

    def rows_of(self, step: int) -> NDArray[np.int64]:
        """The rows of one step, which may lie in two rounds, or in several when there are few."""
        places = np.arange(step * self.size, (step + 1) * self.size)
        rounds, within = np.divmod(places, len(self.rows))
        return np.concatenate([self._order(int(each))[within[rounds == each]] for each in np.unique(rounds)])

    def _order(self, number: int) -> NDArray[np.int64]:
        if self._drawn is None or self._drawn[0] != number:
            order = np.random.default_rng((self.seed, number)).permutation(len(self.rows))
            self._drawn = (number, order)
        return self._drawn[1]


def supervised(targets: Tensor) -> int:
    """How many targets are asked for: what a batch weighs."""
    return int((targets != IGNORED).sum())
