"""What is not JSON, or not what was asked for, on every route that takes a body: refused, and the Lab is as it was."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests
from footprint import HEADERS, surviving
from lab import Lab
from routes import served

BODIES = {"POST", "PUT", "PATCH"}
NOBODY = "00000000-0000-0000-0000-000000000000"

READS_JSON = [
    "/api/config/notebook",
    "/api/contents",
    "/api/contents/nothing.ipynb",
    "/api/events",
    "/api/kernels",
    "/api/me",
    "/api/sessions",
    f"/api/sessions/{NOBODY}",
    "/api/terminals",
    "/lab/api/extensions",
    "/lab/api/plugins",
    "/lab/api/settings/@jupyterlab/apputils-extension:themes",
    "/lab/api/workspaces/nothing",
    "/nbconvert/html",
]
READS_NONE = {
    r"/api/contents.*/(checkpoints|trust)": "the address says it all",
    r"/api/kernels/.*/|/api/shutdown|/lab/api/build": "the address says it all",
    r"/lab/api/(settings|workspaces)/\?\$$": "without a name there is nothing to write to",
    r"/api/security/csp-report": "a browser's report is logged as it comes",
    r"/login": "a form",
    r"/api/notebooks|/\.\*/\$$|/\$$": "a redirect",
    r"/proxy/|/tensorboard/": "the program behind it reads it",
}
NO_JSON = {"cut off": b'{"a":', "words": b"let me in", "two": b"{}{}"}
NOT_WHAT_IS_ASKED = {
    "a list": b"[1]",
    "a number": b"1",
    "too deep": b"[" * 100_000,
    "no UTF-8": b'\xff\xfe{"a": 1}',
    "NUL": b'{"path": "\\u0000"}',
}


@pytest.fixture(scope="module")
def routes(running: Lab) -> dict[str, list[str]]:
    return {pattern: sorted(BODIES & {*verbs}) for pattern, verbs in served(running).items() if BODIES & {*verbs}}


def test_every_route_that_takes_a_body_is_tried_or_reads_none(routes: dict[str, list[str]]) -> None:
    untried = [
        pattern
        for pattern in routes
        if not any(re.fullmatch(pattern, path) for path in READS_JSON)
        and not any(re.match(without, pattern) for without in READS_NONE)
    ]
    assert untried == []


def nonsense(running: Lab, routes: dict[str, list[str]], bodies: dict[str, bytes]) -> Iterator[tuple[str, int, str]]:
    for path in READS_JSON:
        for verb in next(verbs for pattern, verbs in routes.items() if re.fullmatch(pattern, path)):
            for what, body in bodies.items():
                url = running.url(path.removeprefix("/"))
                answer = requests.request(verb, url, data=body, headers=HEADERS, timeout=60, allow_redirects=False)
                yield f"{verb} {path}: {what}", answer.status_code, answer.text


def test_what_is_no_json_is_refused_and_nothing_is_told(running: Lab, routes: dict[str, list[str]]) -> None:
    with surviving(running):
        for asked, code, said in nonsense(running, routes, NO_JSON):
            assert 400 <= code < 500, (asked, code, said)
            tells_nothing(said)


def test_json_of_another_kind_ends_nothing_and_nothing_is_told(running: Lab, routes: dict[str, list[str]]) -> None:
    """Some of Jupyter's routes answer 500 here. It stays one answer: the Lab is as it was."""
    with surviving(running):
        for _, _, said in nonsense(running, routes, NOT_WHAT_IS_ASKED):
            tells_nothing(said)


def tells_nothing(said: str) -> None:
    assert "Traceback" not in said
    assert "site-packages" not in said
