"""What clients say and are told: the shapes of OpenAI's API, as far as this server goes.

A field that nothing here heeds is refused, unless it cannot change the answer: to ignore it would be to lie.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from workstation.llm.answers import fault, special_tokens
from workstation.llm.causal import Causal
from workstation.llm.serve.answer import Asked, Piece

MOST_STOPS = 4
COMPLETION_TOKENS = 16  # OpenAI's own default where nothing is said
HOTTEST = 2.0
HEEDED = {"model", "max_tokens", "temperature", "top_p", "seed", "stop", "stream", "stream_options"}
HEEDED_OF_TEXT, HEEDED_OF_CHAT = HEEDED | {"prompt"}, HEEDED | {"messages", "max_completion_tokens"}
# Whatever they say, the answer is the same.
HARMLESS = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"}
# What may be said about each without being heeded: what it would be if it were not said.
DEFAULTS: dict[str, tuple[Any, ...]] = {
    "n": (1,), "best_of": (1,), "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},),
    "logprobs": (False, 0), "top_logprobs": (0,), "echo": (False,), "suffix": ("",), "tools": ([],), "functions": ([],),
    "tool_choice": ("none", "auto"), "function_call": ("none", "auto"), "response_format": ({"type": "text"},),
    "modalities": (["text"],), "reasoning_effort": ("none",), "verbosity": ("medium",),
    "top_k": (-1, 0), "min_p": (0,), "repetition_penalty": (1,),
}  # fmt: skip


class RequestError(Exception):
    """Why a request is not answered."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param, self.code, self.retry_after = status, kind, param, code, retry_after

    def as_dict(self) -> dict[str, Any]:
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True)
class Request:
    """A request that can be answered."""

    asked: Asked
    chat: bool
    stream: bool
    usage_in_stream: bool


def read(body: bytes, causal: Causal, name: str, *, chat: bool) -> Request:
    """The request in `body` to the model served as `name`. RequestError says what is wrong with it."""
    fields = _json(body)
    if "model" not in fields:
        raise bad("you must provide a model parameter", "model")
    if fields["model"] != name:
        raise RequestError(
            HTTPStatus.NOT_FOUND, f"The model {fields['model']!r} does not exist; this server has {name!r}",
            param="model", code="model_not_found",
        )  # fmt: skip
    for field, said in fields.items():
        heeded = field in (HEEDED_OF_CHAT if chat else HEEDED_OF_TEXT) or field in HARMLESS
        if said is not None and not heeded and said not in DEFAULTS.get(field, ()):
            raise bad(f"{field} is not supported", field, code="unsupported_parameter")
    prompt = conversation(fields.get("messages"), causal) if chat else _text(fields.get("prompt"), causal)
    room = causal.context - len(prompt)
    if room < 1:
        raise bad(
            f"This model's maximum context length is {causal.context} tokens, the answer included, and the prompt has "
            f"{len(prompt)}",
            "messages" if chat else "prompt",
            code="context_length_exceeded",
        )
    most = _number(fields, "max_tokens", int, 1, None)
    if chat and most is None:
        most = _number(fields, "max_completion_tokens", int, 1, None)
    if most is None:
        most = room if chat else COMPLETION_TOKENS
    temperature = _number(fields, "temperature", float, 0, HOTTEST)
    top_p = _number(fields, "top_p", float, 0, 1)
    seed = _number(fields, "seed", int, -(2**63), 2**63 - 1)
    return Request(
        Asked(
            tuple(prompt),
            min(most, room),
            1.0 if temperature is None else temperature,
            secrets.randbits(63) if seed is None else seed % 2**63,
            _stops(fields),
            1.0 if top_p is None else top_p,
        ),
        chat,
        _flag(fields, "stream"),
        _flag(fields.get("stream_options") or {}, "include_usage"),
    )


def bad(message: str, param: str | None = None, code: str | None = None) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, message, param=param, code=code)


class Reply:
    """The shapes of one answer, which share an id."""

    def __init__(self, request: Request, name: str) -> None:
        self._chat, self._prompt = request.chat, len(request.asked.prompt)
        # Who wants the usage of a stream gets it last, and in each piece a word that it is not there yet.
        self._unknown: dict[str, Any] = {"usage": None} if request.usage_in_stream else {}
        self._about = {
            "id": f"{'chatcmpl' if request.chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": name,
        }

    def whole(self, text: str, last: Piece) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        return self._kind() | {"choices": [self._choice(said, last.finish)], "usage": self._usage(last)}

    def first(self) -> dict[str, Any] | None:
        """What a chat's stream begins with: who speaks."""
        said = {"delta": {"role": "assistant", "content": ""}}
        return self._chunk() | {"choices": [self._choice(said, None)]} if self._chat else None

    def part(self, piece: Piece) -> dict[str, Any]:
        said: dict[str, Any] = {"text": piece.text}
        if self._chat:
            said = {"delta": {"content": piece.text} if piece.text else {}}
        return self._chunk() | {"choices": [self._choice(said, piece.finish)]}

    def count(self, last: Piece) -> dict[str, Any]:
        """What a stream ends with where the usage was asked for."""
        return self._chunk() | {"choices": [], "usage": self._usage(last)}

    def _kind(self) -> dict[str, Any]:
        return self._about | {"object": "chat.completion" if self._chat else "text_completion"}

    def _chunk(self) -> dict[str, Any]:
        kind = {"object": "chat.completion.chunk" if self._chat else "text_completion"}
        return self._about | kind | self._unknown

    def _choice(self, said: dict[str, Any], finish: str | None) -> dict[str, Any]:
        return {"index": 0, **said, "logprobs": None, "finish_reason": finish}

    def _usage(self, last: Piece) -> dict[str, int]:
        return {
            "prompt_tokens": self._prompt,
            "completion_tokens": last.tokens,
            "total_tokens": self._prompt + last.tokens,
        }


def _json(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise bad(f"the body is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise bad("the body must be a JSON object")
    return fields


def _text(prompt: Any, causal: Causal) -> list[int]:
    """One prompt: a text, its tokens, or either as the only one of a list."""
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        (prompt,) = prompt
    if isinstance(prompt, str):
        wrong = fault(prompt, ())
        if wrong is not None:
            raise bad(f"prompt {wrong}", "prompt")
        tokens: list[int] = causal.tokenizer(prompt)["input_ids"]
    elif isinstance(prompt, list) and all(type(token) is int for token in prompt):
        tokens = prompt
    else:
        raise bad("prompt must be one text, or the tokens of one", "prompt")
    if not all(0 <= token < len(causal.tokenizer) for token in tokens):
        raise bad(f"prompt has a token that is not in 0 … {len(causal.tokenizer) - 1}", "prompt")
    if not tokens:
        raise bad("this model needs a prompt that is not empty", "prompt")
    return tokens


def conversation(messages: Any, causal: Causal) -> list[int]:
    """Its tokens, up to where the answer begins. RequestError says what is wrong with it."""
    if causal.tokenizer.chat_template is None:
        raise bad(
            "this model has learnt no conversation (its tokenizer has no chat template): use /v1/completions, or "
            "fine-tune it",
            "messages",
        )
    if not isinstance(messages, list) or not messages:
        raise bad("messages must be a list that is not empty", "messages")
    turns = [_turn(message, number) for number, message in enumerate(messages)]
    special = special_tokens(causal.tokenizer)
    for number, turn in enumerate(turns):
        wrong = fault(turn["content"], special)
        if wrong is not None:
            raise bad(f"messages[{number}].content {wrong}", f"messages[{number}].content")
    import jinja2

    try:
        found = causal.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    except jinja2.TemplateError as error:  # the template has rules of its own, such as who may speak after whom
        raise bad(f"the model's chat template refuses these messages: {error}", "messages") from error
    tokens: list[int] = found
    return tokens


def _turn(message: Any, number: int) -> dict[str, str]:
    where = f"messages[{number}]"
    if not isinstance(message, dict) or message.get("role") not in ("system", "developer", "user", "assistant"):
        raise bad(f"{where} must be an object whose role is system, user or assistant", where)
    for field, said in message.items():  # such as a name, or a call of a tool: the template would not be told
        if said not in (None, "", [], {}) and field not in ("role", "content"):
            raise bad(f"{where}.{field} is not supported", f"{where}.{field}", code="unsupported_parameter")
    content = message.get("content")
    if content is None and message["role"] == "assistant":
        content = ""
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise bad(f"{where}.content must be text", f"{where}.content")
    role = "system" if message["role"] == "developer" else message["role"]
    return {"role": role, "content": content}


def _stops(fields: dict[str, Any]) -> tuple[str, ...]:
    told = fields.get("stop")
    stops = [told] if isinstance(told, str) else told or []
    if not isinstance(stops, list) or len(stops) > MOST_STOPS or not all(isinstance(s, str) and s for s in stops):
        raise bad(f"stop must be a text, or a list of up to {MOST_STOPS}", "stop")
    return tuple(stops)


def _number(fields: dict[str, Any], name: str, kind: type, least: float, most: float | None) -> Any:
    value = fields.get(name)
    if value is None:
        return None
    right = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    if not right or not value >= least or (most is not None and value > most):
        what = "a whole number" if kind is int else "a number"
        raise bad(f"{name} must be {what} of {least} or more" + (f", up to {most}" if most else ""), name)
    return kind(value)


def _flag(fields: Any, name: str) -> bool:
    value = fields.get(name) if isinstance(fields, dict) else None
    if value not in (None, True, False):
        raise bad(f"{name} must be true or false", name)
    return bool(value)
