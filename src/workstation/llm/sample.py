"""A trained model goes on with a text, one token at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workstation.errors import SettingError
from workstation.llm.model import Cache, Decoder, of_any_length
from workstation.llm.tokens import BOS, END, Tokenizer

COLDEST = 1e-3  # as good as 0; colder still, and the division leaves no number


class PromptTooLongError(SettingError):
    """The prompt leaves the model no room to answer."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. Temperature 0: always the likeliest."""

    most: int = 200  # tokens
    temperature: float = 0.8
    top_k: int = 50  # draw from the likeliest so many
    seed: int = 0
    top_p: float = 1.0  # and of these from the likeliest that together have this share


def generate(
    model: Decoder, prompt: Sequence[int], sampling: Sampling, *, vocabulary: int | None = None, cached: bool = True
) -> Iterator[int]:
    """The tokens after `prompt` (BOS is put before it), until END, `sampling.most`, or the context is full.

    `cached` keeps keys and values; without, each token costs a pass over all before it. Raises PromptTooLongError.
    """
    context = model.shape.context
    if len(prompt) + 1 >= context:
        raise PromptTooLongError(
            f"the prompt has {len(prompt)} tokens, and the model reads {context} in all, the answer included",
            remedy="Shorten the prompt.",
        )
    device = model.embedding.weight.device
    generator = torch.Generator(device).manual_seed(sampling.seed)
    tokens = torch.tensor([[BOS, *prompt]], device=device)
    cache = Cache.empty(model, rows=1) if cached else None
    model.eval()
    unread = tokens
    for _ in range(min(sampling.most, context - tokens.shape[1])):
        with torch.inference_mode(), of_any_length():
            logits = model(unread if cached else tokens, cache=cache)[0, -1, : vocabulary or model.shape.vocabulary]
            token = choose(logits.float(), sampling, generator)
        if token == END:
            return
        yield token
        unread = torch.tensor([[token]], device=device)
        tokens = torch.cat([tokens, unread], dim=1)


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token, drawn from logits (V,)."""
    if sampling.temperature < COLDEST:
        return int(logits.argmax())
    values, tokens = logits.topk(min(sampling.top_k, len(logits)))
    shares = torch.softmax(values / sampling.temperature, dim=0)
    if sampling.top_p < 1:
        likelier = shares.cumsum(0) - shares  # what stands before each; the likeliest always stays
        shares[1:].masked_fill_(likelier[1:] >= sampling.top_p, 0.0)
    return int(tokens[torch.multinomial(shares, 1, generator=generator)])


def text(tokens: Iterable[int], tokenizer: Tokenizer) -> Iterator[str]:
    """The text of a stream of tokens, piece by piece; a character is held back until all its bytes are there."""
    seen: list[int] = []
    shown = ""
    for token in tokens:
        seen.append(token)
        whole = tokenizer.decode(seen).rstrip("\N{REPLACEMENT CHARACTER}")
        if len(whole) > len(shown):
            yield whole[len(shown) :]
            shown = whole
    rest = tokenizer.decode(seen)[len(shown) :]
    if rest:
        yield rest
