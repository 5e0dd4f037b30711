"""Sentiment in English and Chinese, where it decides *what* is denied (A1 §6.2, A2 §6.2).

The article names TextCNN and BiLSTM-CRF for text classification and shows neither. A CRF gives one label a *word*
(Huang et al., arXiv:1508.01991): that is sequence labelling, of names in a sentence, say. A verdict on a whole sentence
needs one answer: read the words in both directions, keep the strongest sign of each kind, decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.examples import reviews, wordpiece
from workstation.examples.reviews import LANGUAGES, Meaning
from workstation.examples.wordpiece import PAD, UNKNOWN
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit, predict
from workstation.training.scores import accuracy
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

TRAIN, TEST = 2400, 300  # reviews a language; tests of each kind a language

DATA = "English and Chinese reviews made from the seed, in place of IMDB and ChnSentiCorp"
PROMISE = (
    "in each language 95 % of the reviews in which a new word is denied, or seems so; "
    "counting words is right on half of them, and on 85 % of those without denial"
)


@dataclass(frozen=True)
class Result:
    """Accuracy on reviews of things never seen. `pairs`: same words, opposite verdicts; the words were never denied."""

    english: float
    chinese: float
    english_pairs: float
    chinese_pairs: float
    counting: float  # the lower of the two languages, nothing denied
    counting_pairs: float  # the higher of the two languages

    def holds(self) -> bool:
        reads = min(self.english, self.chinese, self.english_pairs, self.chinese_pairs) >= 0.95
        return reads and self.counting >= 0.85 and self.counting_pairs <= 0.60


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    texts, verdicts = to_learn(settings.seed)
    tokenizer = wordpiece.learn(texts)
    pieces = wordpiece.numbers(tokenizer, texts)
    seed_everything(settings.seed)
    reader, counting = Reader(tokenizer.get_vocab_size()), bag_of_words(tokenizer.get_vocab_size())
    train(reader, pieces, verdicts, settings, hooks, name="reader")
    train(counting, pieces, verdicts, settings, hooks, name="counting")

    plain, pairs = reviews.plain(TEST, settings.seed), reviews.pairs(TEST // 2, settings.seed)
    english, chinese = scores(reader, tokenizer, plain, settings)
    english_pairs, chinese_pairs = scores(reader, tokenizer, pairs, settings)
    return Result(
        english,
        chinese,
        english_pairs,
        chinese_pairs,
        counting=min(scores(counting, tokenizer, plain, settings)),
        counting_pairs=max(scores(counting, tokenizer, pairs, settings)),
    )


class Reader(nn.Module):
    """Pieces to vectors, read from both ends; of each feature the largest value anywhere in the text decides."""

    def __init__(self, pieces: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(pieces, width, padding_idx=PAD)
        # A vector with holes cannot be remembered as one word's own: what it shares with its like is what stays.
        self.holes = nn.Dropout(0.3)
        self.onward, self.homeward = (nn.GRU(width, width, batch_first=True) for _ in range(2))
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * width, 2))

    def forward(self, pieces: Tensor) -> Tensor:
        """(texts, length) of piece numbers to logits (texts, 2)."""
        padding = (pieces == PAD).unsqueeze(2)
        strongest = []
        for cell, order in [(self.onward, pieces), (self.homeward, from_the_end(pieces))]:
            states, _ = cell(self.holes(self.embedding(order)))  # (texts, length, width)
            strongest.append(states.masked_fill(padding, -1.0).amax(dim=1))  # a GRU's state is never below -1
        return self.head(torch.cat(strongest, dim=1))


def from_the_end(pieces: Tensor) -> Tensor:
    """Each text turned round, its padding left where it is: `bidirectional=True` would read the padding first."""
    length = (pieces != PAD).sum(dim=1, keepdim=True)
    places = length - 1 - torch.arange(pieces.shape[1], device=pieces.device)
    return pieces.gather(1, places.clamp(min=0)).masked_fill(places < 0, PAD)


def bag_of_words(pieces: int) -> nn.EmbeddingBag:
    """The baseline: a linear classifier on how often each piece occurs. It is blind to order."""
    bag = nn.EmbeddingBag(pieces, 2, mode="sum", padding_idx=PAD)
    nn.init.zeros_(bag.weight)
    return bag


def train(
    model: nn.Module, pieces: Tensor, verdicts: Tensor, settings: Settings, hooks: Sequence[Hook] = (), *, name: str
) -> list[float]:
    epochs = settings.epochs or 10
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return fit(
        model,
        Batches((pieces, verdicts), size=128, seed=settings.seed, augment=smudge),
        F.cross_entropy,
        optimizer,
        epochs=epochs,
        settings=settings,
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=epochs + 1),
        hooks=hooks,
        name=name,
    )


def smudge(pieces: Tensor, share: float = 0.1) -> Tensor:
    """Each piece becomes [UNK] with this probability. Without it no training text would hold what new words become."""
    hit = (torch.rand(pieces.shape) < share) & (pieces != PAD)
    return pieces.masked_fill(hit, UNKNOWN)


def to_learn(seed: int) -> tuple[list[str], Tensor]:
    """Reviews, the English ones first, and whether each praises (1): 2 * TRAIN texts and (2 * TRAIN,)."""
    meanings = reviews.to_learn(2 * TRAIN, seed)
    texts = [meaning.say(language=row // TRAIN) for row, meaning in enumerate(meanings)]
    return texts, torch.tensor([int(meaning.positive) for meaning in meanings])


def scores(model: nn.Module, tokenizer: Tokenizer, test: Sequence[Meaning], settings: Settings) -> list[float]:
    """The accuracy in each language."""
    verdicts = torch.tensor([int(meaning.positive) for meaning in test])
    texts = [[meaning.say(language) for meaning in test] for language in range(len(LANGUAGES))]
    return [accuracy(predict(model, wordpiece.numbers(tokenizer, said), settings=settings), verdicts) for said in texts]
