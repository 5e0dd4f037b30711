"""Conversations as rows of tokens, in which the answers alone are asked for.

Several lie in one row, best fit first (`packing`), and none sees another: positions start again at 0 with each, which
transformers takes as a border, in its masks and in its varlen kernels alike. Where an architecture does not
(`finetune.keeps_apart` tries it), each has a row of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workstation.errors import SettingError
from workstation.llm.corpus import CorpusError
from workstation.llm.export import CHAT_TEMPLATE
from workstation.llm.instructions import Exchange
from workstation.llm.model import IGNORED
from workstation.llm.packing import alone, pack
from workstation.llm.tokens import ASSISTANT, SPECIAL

# For a tokenizer that has neither a chat template nor tokens for who speaks.
PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}"
    "### {{ message['role'] }}{{ '\\n' }}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n### assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Rows:
    """Packed conversations: (rows, length) each."""

    tokens: Tensor
    positions: Tensor  # in their own conversation
    targets: Tensor  # IGNORED but for the tokens of the answers
    conversations: int
    too_long: int  # left out, for they do not fit a row
    filled: float  # the share of places that hold a conversation

    def __len__(self) -> int:
        return len(self.tokens)


def give_chat_template(tokenizer: Any) -> None:
    """Leave the tokenizer's own template; where it has none, one that it can spell. SettingError where it cannot."""
    if tokenizer.chat_template is not None:
        return
    if tokenizer.eos_token is None:
        raise SettingError(
            "the model's tokenizer has no end token, so that an answer could not end",
            remedy="Set eos_token in its tokenizer_config.json.",
        )
    ours = SPECIAL[ASSISTANT] in tokenizer.get_vocab()
    tokenizer.chat_template = CHAT_TEMPLATE if ours else PLAIN_TEMPLATE


def special_tokens(tokenizer: Any) -> list[str]:
    """What becomes a token of its own wherever a chat template meets it."""
    return [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]


def fault(text: str, special: Sequence[str]) -> str | None:
    """Why a message must not go through a chat template; None: it may. Data and the server's clients are asked alike.

    What spells a special token would become it: who wrote that could end the turn and speak as somebody else. Half of
    a surrogate pair, which JSON can spell, is in no text.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"has half a character at place {error.start + 1}"
    spelt = next((token for token in special if token in text), None)
    return None if spelt is None else f"spells {spelt}, which marks turns"


def must_be_plain(exchanges: Sequence[Exchange], special: Sequence[str]) -> None:
    """CorpusError, which names the line, where a message must not go through the chat template."""
    for exchange in exchanges:
        for message in exchange.messages:
            wrong = fault(message["content"], special)
            if wrong is not None:
                raise CorpusError(
                    f"{exchange.where or 'a conversation'} has a message that {wrong}",
                    remedy="Take it out of the data, or spell it otherwise.",
                )


def rows(exchanges: Sequence[Exchange], tokenizer: Any, length: int, *, together: bool = True) -> Rows:
    """Rows of `length` places with several conversations each; not `together`: of what the longest takes, with one.

    CorpusError where not one fits, or one says what it must not.
    """
    must_be_plain(exchanges, special_tokens(tokenizer))
    spelt = [spelled(exchange, tokenizer) for exchange in exchanges]
    fitting = [(tokens, asked) for tokens, asked in spelt if len(tokens) - 1 <= length]
    if not fitting:
        raise CorpusError(
            f"none of the {len(spelt)} conversations fits a row of {length} tokens",
            remedy="Choose a larger --length, or a model with a longer context.",
        )
    borders = np.cumsum([0] + [len(tokens) - 1 for tokens, _ in fitting], dtype=np.int64)
    inputs = np.concatenate([tokens[:-1] for tokens, _ in fitting])
    targets = np.concatenate([[IGNORED] * (asked - 1) + tokens[asked:] for tokens, asked in fitting])
    packed = pack(borders, length) if together else alone(borders)
    if not together:
        length = int(packed.lengths.max())
    empty = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    # What stays free counts from 0 too: a conversation of its own, that asks for nothing.
    found = [np.full((len(packed), length), fill, np.int64) for fill in (empty, 0, IGNORED)]
    for row in range(len(packed)):
        at = 0
        for piece in range(packed.rows[row], packed.rows[row + 1]):
            size, start = int(packed.lengths[piece]), int(packed.starts[piece])
            here, there = slice(at, at + size), slice(start, start + size)
            found[0][row, here], found[1][row, here], found[2][row, here] = inputs[there], range(size), targets[there]
            at += size
        found[1][row, at:] = range(length - at)
    tokens, positions, answers = (torch.from_numpy(array) for array in found)
    filled = float(borders[-1]) / tokens.numel()
    return Rows(tokens, positions, answers, len(fitting), len(spelt) - len(fitting), filled)


def spelled(exchange: Exchange, tokenizer: Any) -> tuple[list[int], int]:
    """The conversation's tokens, and where in them the answer begins. SettingError where that cannot be told."""
    messages = list(exchange.messages)
    question = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    if not whole.startswith(question) or whole == question:
        raise SettingError(
            "the model's chat template does not put an answer after its question",
            remedy="Give the tokenizer another chat_template.",
        )
    asked, tokens = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (question, whole))
    if tokens[: len(asked)] != asked:  # a merge crosses from one to the other, as it never will when it answers
        tokens = asked + tokenizer(whole[len(question) :], add_special_tokens=False)["input_ids"]
    return tokens, len(asked)
