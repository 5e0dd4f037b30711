"""A model that says noise, to be served, and a client's side of the conversation."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from workstation.llm import export
from workstation.llm.causal import Causal
from workstation.llm.model import build
from workstation.llm.serve.server import Serving
from workstation.llm.settings import Shape
from workstation.llm.tokens import END, Tokenizer

DEADLINE = 60.0  # seconds, for whatever is waited for
CONTEXT = 2048


def noise(tokenizer: Tokenizer) -> Causal:
    """Untrained: what it says is noise, but at temperature 0 always the same, and it does not end by itself."""
    torch.manual_seed(0)
    shape = Shape(len(tokenizer), width=32, layers=1, heads=2, kv_heads=1, hidden=64, context=CONTEXT, tied=False)
    model = export.as_llama(build(shape, torch.device("cpu")))
    torch.nn.init.zeros_(model.lm_head.weight.data[END])  # never the likeliest
    fast = export.as_transformers(tokenizer, CONTEXT)
    fast.chat_template = export.CHAT_TEMPLATE
    return Causal("noise", model, fast)


def connect(serving: Serving | str) -> http.client.HTTPConnection:
    url = serving if isinstance(serving, str) else serving.url
    return http.client.HTTPConnection(url.removeprefix("http://"), timeout=DEADLINE)


def call(serving: Serving, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
    connection = connect(serving)
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request("GET" if body is None else "POST", path, content, headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer, dict(response.getheaders())


def complete(serving: Serving, prompt: str = "明月", **fields: Any) -> tuple[int, Any]:
    asked = {"model": "noise", "prompt": prompt, "temperature": 0, "max_tokens": 12} | fields
    return call(serving, "/v1/completions", asked)[:2]


def events(response: http.client.HTTPResponse) -> Iterator[Any]:
    for line in response:
        if line.startswith(b"data: "):
            yield line[6:].strip().decode()


def stream(serving: Serving, path: str, **fields: Any) -> list[Any]:
    connection = connect(serving)
    connection.request("POST", path, json.dumps({"model": "noise", "stream": True} | fields).encode())
    response = connection.getresponse()
    assert response.status == 200
    assert response.getheader("Content-Type") == "text/event-stream"
    *chunks, done = events(response)
    assert done == "[DONE]"
    return [json.loads(chunk) for chunk in chunks]


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def long_stream(serving: Serving | str, tokens: int = CONTEXT) -> http.client.HTTPResponse:
    """An answer under way that would take long; its first piece is read."""
    connection = connect(serving)
    asked = {"model": "noise", "prompt": "明", "temperature": 0, "max_tokens": tokens, "stream": True}
    connection.request("POST", "/v1/completions", json.dumps(asked).encode(), {"Connection": "close"})
    response = connection.getresponse()
    assert next(events(response))
    return response
