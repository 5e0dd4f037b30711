"""From text to numbers and back: byte-level BPE, so that any text has tokens and any tokens have bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workstation.errors import WorkstationError
from workstation.training.atomic import write_whole

if TYPE_CHECKING:
    import tokenizers  # at run time where it is needed alone: measuring a GPU's speed takes no text

FILE = "tokenizer.json"
# Known to every tokenizer here, in this order: the numbers are the same in all of them.
BOS, END, PAD, USER, ASSISTANT = range(5)
SPECIAL = ("<|bos|>", "<|end|>", "<|pad|>", "<|user|>", "<|assistant|>")


class TokenizerError(WorkstationError):
    """The tokenizer is missing, broken, or another run's."""

    exit_code = 65


class Tokenizer:
    """A vocabulary and the merges that lead to it."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self.backend = backend
        # A text that spells <|end|> is text: only this program's own code puts the token itself.
        backend.encode_special_tokens = True

    @classmethod
    def learn(cls, texts: Iterable[str], vocabulary: int) -> Tokenizer:
        """Merge the most frequent neighbours until there are `vocabulary` tokens, or nothing occurs twice."""
        import tokenizers
        from tokenizers import decoders, models, pre_tokenizers, trainers

        backend = tokenizers.Tokenizer(models.BPE())
        # GPT-2's split: words with the space before them, digits, signs. No merge crosses from one to the next.
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=2,
            show_progress=False,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        backend.train_from_iterator(texts, trainer)
        return cls(backend)

    @classmethod
    def load(cls, directory: Path) -> Tokenizer:
        import tokenizers

        path = directory / FILE
        try:
            return cls(tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except Exception as error:  # the library raises Exception itself
            raise TokenizerError(
                f"{path} holds no tokenizer: {error}", remedy="Name a directory that `prepare` or `pretrain` made."
            ) from error

    def save(self, directory: Path) -> None:
        write_whole(directory / FILE, self.backend.to_str().encode())

    @property
    def fingerprint(self) -> str:
        """The same for equal tokenizers, and for no others."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    def __len__(self) -> int:
        return int(self.backend.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """The text alone: no special token is added, and none is read out of it."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in self.backend.encode_batch(texts, add_special_tokens=False)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Special tokens leave no trace. Half a character becomes �."""
        return str(self.backend.decode(list(tokens), skip_special_tokens=True))

    def byte_lengths(self) -> list[int]:
        """How many bytes of text each token stands for: 0 for the special ones."""
        # A byte-level token is spelt with one visible character a byte.
        spelt = (self.backend.id_to_token(number) for number in range(len(self)))
        return [0 if number < len(SPECIAL) else len(token) for number, token in enumerate(spelt)]
