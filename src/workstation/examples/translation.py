"""English to Chinese and back, by one small Transformer (A1 §6.2, A2 §6.2; Vaswani et al., arXiv:1706.03762).

The article names the Transformer and shows none. What is hard to see in words is in the three masks: what nobody may
look at (padding, in the source), what is not there yet (the words to come, in the target), and what does not count
(padding, in the loss).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.examples import phrasebook, wordpiece
from workstation.examples.decoding import exact, translate
from workstation.examples.phrasebook import COUNTS, Sentence
from workstation.examples.wordpiece import FIRST, LAST, PAD
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit, predict
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

TRAIN, TEST = 1500, 200  # sentences, each translated in both directions
LONGEST = 32  # pieces, with the mark of the end

DATA = "English and Chinese sentences with dates, counts and clauses, made from the seed, in place of Tatoeba"
PROMISE = "95 % of unseen sentences, with counts never seen, are translated without any mistake, in both directions"


@dataclass(frozen=True)
class Result:
    """The share of test sentences whose every piece is right."""

    into_chinese: float
    into_english: float
    pieces_right: float  # of single pieces, given the right beginning: the kinder number

    def holds(self) -> bool:
        return min(self.into_chinese, self.into_english) >= 0.95


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    learnt, unseen = to_learn_and_to_test(settings.seed)
    tokenizer = wordpiece.learn(text for sentence in learnt for text in (sentence.english, sentence.chinese))
    seed_everything(settings.seed)
    translator = Translator(tokenizer.get_vocab_size())
    train(translator, *both_ways(tokenizer, learnt), settings, hooks)

    source, target = both_ways(tokenizer, unseen)
    right = exact(translate(translator, source, settings), target)
    answers = predict(translator, source, shifted(target), settings=settings).argmax(dim=2)
    return Result(
        float(right[:TEST].double().mean()),
        float(right[TEST:].double().mean()),
        float((answers == target)[target != PAD].double().mean()),
    )


class Translator(nn.Module):
    """Encoder and decoder over one table of pieces for both languages. `causal=False` is a mistake, kept to be seen."""

    def __init__(self, pieces: int, width: int = 64, causal: bool = True) -> None:
        super().__init__()
        self.causal = causal
        self.embedding, self.places, self.scale = nn.Embedding(pieces, width), nn.Embedding(LONGEST, width), width**0.5
        for table in (self.embedding, self.places):
            nn.init.normal_(table.weight, std=1 / self.scale)
        # LayerNorm before each part (norm_first) trains without the long warm-up that the first Transformer needed.
        kind = {"d_model": width, "nhead": 4, "dim_feedforward": width, "dropout": 0.0}
        order = {"batch_first": True, "norm_first": True}
        encoding, decoding = nn.TransformerEncoderLayer(**kind, **order), nn.TransformerDecoderLayer(**kind, **order)
        self.encoder = nn.TransformerEncoder(encoding, 1, nn.LayerNorm(width), enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoding, 2, nn.LayerNorm(width))

    def forward(self, source: Tensor, said: Tensor) -> Tensor:
        """(rows, source length) and (rows, length) of pieces to the logits of what follows, (rows, length, pieces)."""
        return self.decode(said, self.encode(source), source)

    def encode(self, source: Tensor) -> Tensor:
        return self.encoder(self._placed(source), src_key_padding_mask=source == PAD)

    def decode(self, said: Tensor, memory: Tensor, source: Tensor) -> Tensor:
        """Its own padding needs no mask: it stands at the end, where no real place may look."""
        steps = said.shape[1]
        hidden = torch.ones(steps, steps, dtype=torch.bool, device=said.device).triu(1)  # True: may not look there
        states = self.decoder(
            self._placed(said),
            memory,
            tgt_mask=hidden if self.causal else None,
            tgt_is_causal=self.causal,
            memory_key_padding_mask=source == PAD,
        )
        # The rows of the table serve twice: what reads a piece also recognises it (Press and Wolf, arXiv:1608.05859).
        return F.linear(states, self.embedding.weight)

    def _placed(self, pieces: Tensor) -> Tensor:
        # Attention does not know order: without the places, a sentence is a bag.
        return self.scale * (self.embedding(pieces) + self.places(torch.arange(pieces.shape[1], device=pieces.device)))


def train(
    translator: Translator, source: Tensor, target: Tensor, settings: Settings, hooks: Sequence[Hook] = ()
) -> list[float]:
    """Teacher forcing: at each place the decoder is given the right beginning, whatever it would have said."""
    epochs = settings.epochs or 6
    optimizer = torch.optim.Adam(translator.parameters(), lr=0.005, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.005, total_steps=epochs + 1, pct_start=0.2, div_factor=2
    )
    batches = Batches((source, shifted(target), target), size=16, seed=settings.seed)
    return fit(translator, batches, loss, optimizer, epochs=epochs, settings=settings, scheduler=schedule,
               weight=counted, hooks=hooks)  # fmt: skip


def counted(target: Tensor) -> int:
    """The pieces that `loss` is a mean over."""
    return int((target != PAD).sum())


def loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy over the pieces; padding does not count. (rows, length, pieces) and (rows, length)."""
    return F.cross_entropy(logits.transpose(1, 2), target, ignore_index=PAD)


def shifted(target: Tensor) -> Tensor:
    """What has been said before each place: the target, one place later, after the mark of the beginning."""
    return F.pad(target, (1, 0), value=FIRST)[:, :-1]


def to_learn_and_to_test(seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """TRAIN and TEST sentences; the counts of the second do not occur in the first."""
    kept_back = phrasebook.kept_back(seed)
    return phrasebook.sentences(TRAIN, seed, COUNTS - kept_back), phrasebook.sentences(TEST, seed, kept_back)


def both_ways(tokenizer: Tokenizer, sentences: Sequence[Sentence]) -> tuple[Tensor, Tensor]:
    """Source and target, first into Chinese, then into English: two of (2 * sentences, length).

    No mark says which language is wanted (Johnson et al., arXiv:1611.04558): there are two, and one is given.
    """
    texts = [sentence.english for sentence in sentences] + [sentence.chinese for sentence in sentences]
    pieces = F.pad(wordpiece.numbers(tokenizer, texts), (0, 1), value=PAD)
    source = pieces.scatter(1, (pieces != PAD).sum(dim=1, keepdim=True), LAST)
    return source, source.roll(len(sentences), dims=0)
