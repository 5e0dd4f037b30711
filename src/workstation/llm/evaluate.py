"""How good is a language model? Loss, perplexity, and bits per byte, which no choice of tokenizer can flatter."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from workstation.errors import SettingError
from workstation.llm.data import TRAIN, VALIDATION, Data, Rows, supervised
from workstation.llm.model import IGNORED, Decoder, of_any_length
from workstation.llm.ngram import NGram
from workstation.training.settings import Settings

if TYPE_CHECKING:
    from workstation.llm.causal import Causal

PIECE = 2048  # tokens read at once: the logits of a longer piece, over a large vocabulary, would fill the memory
COUNTABLE = 30_000_000  # tokens: more are not counted in a minute
ORDER = 5


@dataclass(frozen=True)
class Score:
    """On a row of targets: their summed loss in nats, how many there are, and how many bytes of text they stand for."""

    nats: float
    tokens: int
    bytes: int

    @property
    def loss(self) -> float:
        """Nats a token: what training brings down."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """As unsure as among so many tokens."""
        return math.exp(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """What the text would take if the model compressed it."""
        return self.nats / math.log(2) / self.bytes


def score(
    model: Decoder,
    rows: Rows,
    byte_lengths: list[int],
    settings: Settings,
    *,
    size: int = 16,
    most: int | None = None,
    masked: bool = True,
) -> Score:
    """Read the rows, or `most` of them from all over, `size` at a time.

    Each document as if it were alone, or, for a model that was not trained so, not `masked` from those before it.
    """
    model.to(settings.device).eval()
    lengths = torch.tensor(byte_lengths)
    nats, tokens, read = 0.0, 0, 0
    count = len(rows) if most is None else min(most, len(rows))
    chosen = [number * len(rows) // count for number in range(count)]
    size = min(size, count)
    for first in range(0, count, size):
        here = chosen[first : first + size]
        # A last batch of fewer rows would have the model compiled once more, so it is filled up, and not asked there.
        inputs, targets, documents = rows.batch(here + chosen[: size - len(here)])
        targets[len(here) :] = IGNORED
        asked = supervised(targets)
        with (
            torch.inference_mode(),
            torch.autocast(settings.device.type, torch.bfloat16, enabled=settings.amp),
        ):
            given = (inputs, targets, documents) if masked else (inputs, targets)
            mean = model(*(tensor.to(settings.device) for tensor in given))
        nats += float(mean) * asked
        tokens += asked
        read += int(lengths[targets[targets != IGNORED]].sum())
    return Score(nats, tokens, read)


def read(found: Causal, texts: Iterable[str]) -> Score:
    """Any model on any texts: each alone, closed by the end token, in pieces no longer than the context.

    On what a run of ours was validated on, the model exported from it has the same score, but for what the run's gives
    to the rows that pad its vocabulary.
    """
    tokenizer = found.tokenizer
    end, length = tokenizer.eos_token_id, min(found.context, PIECE)
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else end
    if begin is None:
        raise SettingError(
            f"the tokenizer of {found.name} has no token to begin a text with",
            remedy="Set bos_token or eos_token in its tokenizer_config.json.",
        )
    nats, tokens, size = 0.0, 0, 0
    for text in texts:
        spelt = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        spelt += [] if end is None else [end]
        for piece in (spelt[at : at + length] for at in range(0, len(spelt), length)):
            inputs = torch.tensor([[begin, *piece[:-1]]], device=found.model.device)
            with torch.inference_mode(), of_any_length():
                logits = found.model(input_ids=inputs, use_cache=False).logits[0].float()
                nats += float(F.cross_entropy(logits, torch.tensor(piece, device=logits.device), reduction="sum"))
        tokens, size = tokens + len(spelt), size + len(text.encode())
    return Score(nats, tokens, size)


def uniform(data: Data) -> Score:
    """Whoever knows nothing: each token as likely as any other."""
    tokens = data.about.tokens[VALIDATION]
    return Score(tokens * math.log(data.about.vocabulary), tokens, data.about.bytes[VALIDATION])


def counted(data: Data) -> Score | None:
    """The 5-gram model (see `ngram`) of the same training tokens on the same targets; None where they are too many."""
    fits = (data.about.vocabulary + 1) ** ORDER < 2**63
    if data.about.tokens[TRAIN] > COUNTABLE or not fits:
        return None
    model = NGram.count(documents(data, TRAIN), data.about.vocabulary, ORDER)
    losses = model.losses(documents(data, VALIDATION))
    return Score(float(losses.sum()), len(losses), data.about.bytes[VALIDATION])


def documents(data: Data, split: str) -> list[NDArray[np.int64]]:
    """Each document's tokens, END included."""
    stream = np.concatenate(data.shards(split)).astype(np.int64)
    return [stream[begin:end] for begin, end in pairwise(data.borders(split).tolist())]
