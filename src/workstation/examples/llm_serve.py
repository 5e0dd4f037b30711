"""A language model leaves the notebook: a directory that others load, an address that clients ask (A2 §2.7).

What arrives elsewhere must be what the model says here: the same logits from the directory, the same text over HTTP,
whole or in pieces. And what cannot be answered must be refused in a way that a client understands.
"""

from __future__ import annotations

import json
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from workstation.examples import llm_pretrain
from workstation.examples.llm_pretrain import PRESET, SOURCE
from workstation.llm import causal, export
from workstation.llm.causal import Causal
from workstation.llm.model import Decoder
from workstation.llm.prepare import prepare
from workstation.llm.pretrain import decoder
from workstation.llm.sample import Sampling, generate
from workstation.llm.serve.server import Address, running
from workstation.llm.tokens import Tokenizer
from workstation.training import distributed
from workstation.training.loop import Hook
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

READING = 1  # of chapter 30's nine stretches: it need not be good, only the same everywhere
PROMPT, TOKENS = "def read(self", 40

DATA = llm_pretrain.DATA
PROMISE = "a loaded export has the same logits (1e-5); over HTTP comes the model's own text; too long a prompt gets 400"


@dataclass(frozen=True)
class Result:
    logits_apart: float  # the largest difference between the decoder and its export, loaded by transformers
    own: str  # what the decoder says
    whole: str  # what the server says
    streamed: str
    pieces: int  # of the stream
    refusal: int  # the status of a request that is too long

    def holds(self) -> bool:
        same = self.own == self.whole == self.streamed
        return self.logits_apart < 1e-5 and same and self.pieces > 1 and self.refusal == 400


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    model, tokenizer = trained(settings, hooks)
    return distributed.from_first(lambda: served(model, tokenizer, settings))


def served(model: Decoder, tokenizer: Tokenizer, settings: Settings) -> Result:
    """Exported, loaded, and asked over HTTP: in a job of many processes by one of them."""
    with tempfile.TemporaryDirectory() as directory:
        loaded = exported(model, tokenizer, Path(directory) / "lesson", settings)
    with running(loaded, Address("lesson", port=0)) as server:
        whole = ask(server.url, PROMPT)["choices"][0]["text"]
        pieces = [chunk["choices"][0]["text"] for chunk in stream(server.url, PROMPT)]
        refusal = status(server.url, PROMPT * PRESET.shape.context)
    return Result(apart(model, loaded), said(model, tokenizer, PROMPT), whole, "".join(pieces), len(pieces), refusal)


def trained(settings: Settings, hooks: Sequence[Hook] = ()) -> tuple[Decoder, Tokenizer]:
    with tempfile.TemporaryDirectory() as directory:
        data = prepare(SOURCE, Path(directory) / "code", PRESET.shape.vocabulary)
        seed_everything(settings.seed)
        model = decoder(PRESET, settings.device)
        llm_pretrain.train(model, data, replace(settings, epochs=READING), hooks)
        return model.eval(), Tokenizer.load(data.directory)


def exported(model: Decoder, tokenizer: Tokenizer, directory: Path, settings: Settings) -> Causal:
    """Written as a Hugging Face directory, and loaded from there as a stranger would."""
    known = Causal("lesson", export.as_llama(model), export.as_transformers(tokenizer, PRESET.shape.context))
    export.export(known, directory)
    return causal.load(str(directory), settings.device)


def apart(model: Decoder, loaded: Causal) -> float:
    tokens = export.sample_tokens(loaded).to(loaded.model.device)
    with torch.inference_mode():
        ours, theirs = model(tokens), loaded.model(input_ids=tokens).logits
    return float((ours[..., : theirs.shape[-1]] - theirs).abs().max())


def said(model: Decoder, tokenizer: Tokenizer, prompt: str) -> str:
    """What the decoder itself goes on with, always the likeliest token."""
    return tokenizer.decode(list(generate(model, tokenizer.encode(prompt), Sampling(TOKENS, temperature=0))))


def ask(url: str, prompt: str, **more: Any) -> dict[str, Any]:
    """One completion, as any client of OpenAI's API would ask for it."""
    with urllib.request.urlopen(request(url, prompt, **more), timeout=60) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def stream(url: str, prompt: str, **more: Any) -> Iterator[dict[str, Any]]:
    """The same in pieces, each as soon as it is there (server-sent events)."""
    with urllib.request.urlopen(request(url, prompt, stream=True, **more), timeout=60) as response:
        for line in response:
            if line.startswith(b"data: {"):
                yield json.loads(line.removeprefix(b"data: "))


def status(url: str, prompt: str) -> int:
    try:
        with urllib.request.urlopen(request(url, prompt), timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def request(url: str, prompt: str, **more: Any) -> urllib.request.Request:
    asked = {"model": "lesson", "prompt": prompt, "max_tokens": TOKENS, "temperature": 0} | more
    return urllib.request.Request(f"{url}/v1/completions", json.dumps(asked).encode())
