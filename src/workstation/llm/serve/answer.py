"""One request's answer, a token at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from workstation.llm.causal import Causal
from workstation.llm.model import of_any_length
from workstation.llm.sample import Sampling, choose

HALF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Asked:
    """What is to be gone on with, and how. `most` + the prompt fit the model's context."""

    prompt: tuple[int, ...]
    most: int  # tokens
    temperature: float
    seed: int
    stop: tuple[str, ...] = ()  # the answer ends before the first of these texts
    top_p: float = 1.0
    top_k: int | None = None  # None: all


@dataclass(frozen=True)
class Piece:
    """What one step of the model added: often nothing that can be shown yet."""

    text: str
    tokens: int  # of the answer so far, the one that ended it included
    finish: Literal["stop", "length"] | None = None


def answer(causal: Causal, asked: Asked) -> Iterator[Piece]:
    """A piece for each step; the last has `finish`. Keys and values are kept by the model's own kind of cache."""
    device, ends = causal.model.device, end_tokens(causal)
    top_k = asked.top_k or len(causal.tokenizer)
    sampling = Sampling(asked.most, asked.temperature, top_k, asked.seed, asked.top_p)
    generator = torch.Generator(device).manual_seed(asked.seed)
    text = Text(lambda tokens: causal.tokenizer.decode(tokens, skip_special_tokens=True), asked.stop)
    known, cache = [*asked.prompt], None
    unread = torch.tensor([known], device=device)
    for count in range(1, asked.most + 1):
        # Entered anew at each step: a generator that is left open must not leave its thread in inference mode.
        with torch.inference_mode(), of_any_length():
            output = causal.model(input_ids=unread, past_key_values=cache, use_cache=True, logits_to_keep=1)
            # Some tables have more rows than there are tokens.
            token = choose(output.logits[0, -1, : len(causal.tokenizer)].float(), sampling, generator)
        if token in ends:
            yield Piece(text.rest(), count, "stop")
            return
        shown = text.add(token)
        if text.stopped:
            yield Piece(shown, count, "stop")
            return
        if count < asked.most:
            yield Piece(shown, count)
        known.append(token)
        cache = getattr(output, "past_key_values", None)  # Mamba keeps another thing: it reads all of it again
        unread = torch.tensor([known if cache is None else [token]], device=device)
    yield Piece(shown + text.rest(), asked.most, "length")


def end_tokens(causal: Causal) -> set[int]:
    """After any of these the model has said what it had to say."""
    told = causal.model.generation_config.eos_token_id
    ends = {*(told if isinstance(told, list) else [told]), causal.tokenizer.eos_token_id}
    return {token for token in ends if token is not None}


@dataclass
class Text:
    """Tokens become text as soon as it is certain: a character with its last byte, what may begin a stop when it
    does not."""

    decode: Callable[[Sequence[int]], str]
    stops: tuple[str, ...] = ()
    stopped: bool = False
    _tokens: list[int] = field(default_factory=list)
    # Only the tokens since `_before` are decoded: the text of those up to `_read` is out already, and is there because
    # some tokenizers spell a token by what stands before it.
    _before: int = 0
    _read: int = 0
    _held: str = ""

    def add(self, token: int) -> str:
        """What can be shown now that this token is known."""
        self._tokens.append(token)
        new = self._new()
        if new.endswith(HALF_A_CHARACTER):
            return ""
        self._before, self._read = self._read, len(self._tokens)
        return self._release(new)

    def rest(self) -> str:
        """What was held back, when no token follows."""
        text = self._release(self._new()) + self._held
        self._held, self._read = "", len(self._tokens)
        return text

    def _new(self) -> str:
        known = self.decode(self._tokens[self._before : self._read])
        return self.decode(self._tokens[self._before :])[len(known) :]

    def _release(self, new: str) -> str:
        text, self._held = self._held + new, ""
        at = min((at for at in (text.find(stop) for stop in self.stops) if at >= 0), default=None)
        if at is not None:
            self.stopped = True
            return text[:at]
        held = max((begun(text, stop) for stop in self.stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def begun(text: str, stop: str) -> int:
    """How many of the last characters of `text` are the first of `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
