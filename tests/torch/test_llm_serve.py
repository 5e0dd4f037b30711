"""A real server, spoken to over HTTP, as OpenAI's clients would."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from llm_client import CONTEXT, DEADLINE, call, complete, connect, events, long_stream, stream, until

from workstation.errors import SettingError
from workstation.examples import llm_serve
from workstation.llm import export
from workstation.llm.causal import Causal
from workstation.llm.model import build
from workstation.llm.sample import Sampling, generate
from workstation.llm.serve.answer import Text, answer
from workstation.llm.serve.protocol import read
from workstation.llm.serve.server import Address, Serving, running
from workstation.llm.settings import Shape
from workstation.llm.tokens import Tokenizer
from workstation.training.settings import Settings

pytest_plugins = ["llm_fixtures"]

# -------------------------------------------------------------------------------------------------------- the answers


def test_the_models_that_can_be_asked_are_listed(serving: Serving) -> None:
    status, listed, _ = call(serving, "/v1/models")
    assert status == 200
    assert [model["id"] for model in listed["data"]] == ["noise"]
    assert call(serving, "/v1/models/noise")[1] == listed["data"][0]
    assert call(serving, "/v1/models/other")[0] == 404
    assert call(serving, "/health")[:2] == (200, {"status": "ok"})


def test_a_completion_is_what_the_model_itself_says(serving: Serving, noise: Causal, tokenizer: Tokenizer) -> None:
    status, reply = complete(serving)
    assert status == 200
    prompt = torch.tensor([[0, *tokenizer.encode("明月")]])
    whole = noise.model.generate(prompt, max_new_tokens=12, do_sample=False)[0, prompt.shape[1] :]
    assert reply["choices"][0]["text"] == tokenizer.decode(whole.tolist())
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"] == {
        "prompt_tokens": prompt.shape[1], "completion_tokens": 12, "total_tokens": prompt.shape[1] + 12,
    }  # fmt: skip


def test_a_stream_is_the_same_text_in_pieces(serving: Serving) -> None:
    whole = complete(serving, max_tokens=40)[1]
    chunks = stream(
        serving, "/v1/completions", prompt="明月", temperature=0, max_tokens=40, stream_options={"include_usage": True}
    )
    *pieces, usage = chunks
    assert len(pieces) > 5
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == whole["choices"][0]["text"]
    assert [piece["choices"][0]["finish_reason"] for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]
    assert usage["usage"] == whole["usage"]
    assert all(piece["usage"] is None for piece in pieces)
    assert "usage" not in stream(serving, "/v1/completions", prompt="明月", max_tokens=1)[0]
    assert usage["choices"] == []
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_a_chat_goes_through_the_chat_template(serving: Serving, noise: Causal) -> None:
    messages = [
        {"role": "system", "content": "poems"},
        {"role": "user", "content": [{"type": "text", "text": "明月"}]},
    ]
    body = {"model": "noise", "messages": messages, "temperature": 0, "max_tokens": 8}
    status, reply, _ = call(serving, "/v1/chat/completions", body)
    assert status == 200
    prompt = noise.tokenizer("<|bos|><|user|>poems<|user|>明月<|assistant|>", add_special_tokens=False)["input_ids"]
    assert reply["usage"]["prompt_tokens"] == len(prompt)
    message = reply["choices"][0]["message"]
    assert message["role"] == "assistant"
    chunks = stream(serving, "/v1/chat/completions", messages=messages, temperature=0, max_tokens=8)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == message["content"]


def test_the_same_seed_says_the_same_and_another_something_else(serving: Serving) -> None:
    texts = [complete(serving, temperature=1, seed=seed)[1]["choices"][0]["text"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_top_p_leaves_out_the_unlikely(serving: Serving) -> None:
    likeliest = complete(serving)[1]["choices"]
    assert complete(serving, temperature=2, top_p=0)[1]["choices"] == likeliest
    assert complete(serving, temperature=2, top_p=1, seed=1)[1]["choices"] != likeliest


def test_a_prompt_may_be_a_text_its_tokens_or_a_list_of_one(serving: Serving, noise: Causal) -> None:
    tokens = noise.tokenizer("明月")["input_ids"]
    answers = [complete(serving, prompt)[1]["choices"] for prompt in ("明月", ["明月"], tokens, [tokens])]
    assert all(each == answers[0] for each in answers)


def test_what_cannot_change_the_answer_may_be_said(serving: Serving) -> None:
    told = {
        "user": "me",
        "metadata": {"a": "b"},
        "store": True,
        "n": 1,
        "tools": [],
        "tool_choice": "auto",
        "top_k": -1,
    }
    assert complete(serving, **told)[1]["choices"] == complete(serving)[1]["choices"]
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": []},
    ]
    body = {"model": "noise", "messages": [*turns, turns[0]], "max_tokens": 4, "temperature": 1e-40}
    assert call(serving, "/v1/chat/completions", body)[0] == 200


def test_an_answer_ends_before_a_stop_and_none_of_it_is_shown(serving: Serving) -> None:
    whole = complete(serving, max_tokens=40)[1]["choices"][0]["text"]
    stop = whole[5:8]
    at = whole.index(stop)
    _, reply = complete(serving, max_tokens=40, stop=[stop, "never"])
    assert reply["choices"][0]["text"] == whole[:at]
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"]["completion_tokens"] < 40
    chunks = stream(serving, "/v1/completions", prompt="明月", temperature=0, max_tokens=40, stop=stop)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole[:at]


@pytest.mark.parametrize("stops", [(), ("cd",), ("bcx", "月光"), ("zzz",)])
def test_text_is_shown_in_whole_characters_and_never_taken_back(tokenizer: Tokenizer, stops: tuple[str, ...]) -> None:
    said = "ab cabc 床前明月光🙂 abcd"
    text = Text(tokenizer.decode, stops)
    shown = ""
    for token in tokenizer.encode(said):
        shown += text.add(token)
        assert "\N{REPLACEMENT CHARACTER}" not in shown
        if text.stopped:
            break
    else:
        shown += text.rest()
    assert shown == min((said.partition(stop)[0] for stop in stops), key=len, default=said)


def test_a_context_that_is_full_ends_the_answer(serving: Serving) -> None:
    room = 6
    prompt = "床" * 3000
    tokens = len(serving.engine.causal.tokenizer(prompt)["input_ids"])
    prompt = prompt[: (CONTEXT - room) * 3000 // (tokens - 1)]
    used = len(serving.engine.causal.tokenizer(prompt)["input_ids"])
    status, reply = complete(serving, prompt, max_tokens=500)
    assert status == 200
    assert reply["usage"]["total_tokens"] == CONTEXT
    assert used + reply["usage"]["completion_tokens"] == CONTEXT
    assert reply["choices"][0]["finish_reason"] == "length"


def test_its_cache_computes_what_the_decoder_computes(tokenizer: Tokenizer) -> None:
    torch.manual_seed(1)
    shape = Shape(len(tokenizer), width=32, layers=2, heads=4, kv_heads=2, hidden=64, context=64, tied=False)
    decoder = build(shape, torch.device("cpu"))
    causal = Causal("it", export.as_llama(decoder), export.as_transformers(tokenizer, 64))
    prompt = tokenizer.encode("床前明月光")
    body = json.dumps({"model": "it", "prompt": "床前明月光", "temperature": 0, "max_tokens": 30}).encode()
    pieces = answer(causal, read(body, causal, "it", chat=False).asked)
    ours = list(generate(decoder, prompt, Sampling(30, temperature=0)))
    assert "".join(piece.text for piece in pieces) == tokenizer.decode(ours)


# --------------------------------------------------------------------------------------------------- more than one


def test_many_at_once_get_what_each_would_get_alone(noise: Causal) -> None:
    prompts = ["床前", "明月", "春眠不觉晓", "白日"] * 3
    with (
        running(noise, Address("noise", port=0, together=4, waiting=20)) as serving,
        concurrent.futures.ThreadPoolExecutor(12) as pool,
    ):
        alone = {prompt: complete(serving, prompt)[1]["choices"] for prompt in set(prompts)}
        together = list(pool.map(lambda prompt: complete(serving, prompt)[1]["choices"], prompts))
    assert together == [alone[prompt] for prompt in prompts]


def test_a_full_line_is_told_when_to_come_again_and_empties_when_its_clients_leave(noise: Causal) -> None:
    with running(noise, Address("noise", port=0, together=2, waiting=0)) as serving:
        under_way = [long_stream(serving), long_stream(serving)]
        status, reply, headers = call(serving, "/v1/completions", {"model": "noise", "prompt": "明"})
        assert status == 429
        assert int(headers["Retry-After"]) >= 1
        assert reply["error"]["code"] == "busy"
        jobs = list(serving.engine._jobs)
        for response in under_way:  # clients that go away in mid-stream: nothing is computed for them any more
            response.close()
        until(lambda: complete(serving)[0] == 200)
        until(lambda: not serving.engine.jobs)
        until(lambda: not serving.engine._jobs)
        assert all(next(job.pieces, None) is not None for job in jobs), "their answers were not computed to the end"


def test_a_client_that_leaves_the_line_gives_up_its_place(noise: Causal) -> None:
    with running(noise, Address("noise", port=0, together=1, waiting=1)) as serving:
        under_way = long_stream(serving)
        for _ in range(3):  # each waits, and leaves
            waiting = connect(serving)
            asked = {"model": "noise", "prompt": "明", "max_tokens": CONTEXT}
            waiting.request("POST", "/v1/completions", json.dumps(asked).encode())
            until(lambda: serving.engine.jobs == 2)
            assert complete(serving)[0] == 429
            waiting.close()
            until(lambda: serving.engine.jobs == 1)
        until(lambda: len(serving.engine._jobs) == 1)
        under_way.close()
        assert complete(serving)[0] == 200


def test_a_short_answer_does_not_wait_for_a_long_one(serving: Serving) -> None:
    long = long_stream(serving)
    assert complete(serving)[0] == 200
    until(lambda: serving.engine.jobs < 2)
    assert serving.engine.jobs == 1, "the long one is still under way"
    long.close()
    until(lambda: not serving.engine.jobs)


def test_a_failure_of_the_model_ends_one_answer_and_not_the_server(noise: Causal) -> None:
    broken = Causal("noise", torch.nn.Module(), noise.tokenizer)
    broken.model.config, broken.model.generation_config = noise.model.config, noise.model.generation_config
    broken.model.device = torch.device("cpu")
    with running(broken, Address("noise", port=0)) as serving:
        for _ in range(2):
            status, reply = complete(serving)
            assert status == 500
            assert reply["error"]["type"] == "server_error"
        assert call(serving, "/health")[0] == 200


# --------------------------------------------------------------------------------------------------------- the command


def test_the_command_answers_and_sigterm_lets_an_answer_be_finished(noise: Causal, tmp_path: Path) -> None:
    export.export(noise, tmp_path / "noise")
    command = [sys.executable, "-m", "workstation", "llm", "serve", str(tmp_path / "noise"), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        said = process.stdout.readline()
        assert said.startswith("serving noise at http://127.0.0.1:"), said
        url = said.split()[-1].removesuffix("/v1")
        response = long_stream(url, 800)
        process.send_signal(signal.SIGTERM)
        *_, last, done = events(response)
        assert done == "[DONE]"
        assert json.loads(last)["choices"][0]["finish_reason"] == "length"
        assert process.wait(DEADLINE) == 0
        with pytest.raises(ConnectionRefusedError):
            connect(url).request("GET", "/health")
    finally:
        process.kill()
        process.wait()


def test_a_port_that_is_taken_is_said_in_one_line(noise: Causal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingError, match="cannot be listened on"), running(noise, Address("noise", port=port)):
            pass


# ---------------------------------------------------------------------------------------------------------- the lesson


def test_the_lessons_model_says_the_same_everywhere(device: torch.device) -> None:
    result = llm_serve.run(Settings(device))
    assert result.holds(), result


def test_another_text_over_http_breaks_the_promise() -> None:
    kept = llm_serve.Result(0.0, "a text", "a text", "a text", pieces=3, refusal=400)
    assert kept.holds()
    for broken in (
        {"whole": "another"},
        {"streamed": "a tex"},
        {"logits_apart": 1e-2},
        {"pieces": 1},
        {"refusal": 200},
    ):
        assert not dataclasses.replace(kept, **broken).holds()
