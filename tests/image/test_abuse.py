"""Too much at once, on one Lab of 2 GiB: nothing ends, nothing is kept, and it still answers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import requests
import websocket
from footprint import BACK_WITHIN_S, HEADERS, MORE_FILES, MORE_MEMORY_MIB, Footprint, came_back, status, surviving
from lab import TOKEN, Lab, lab

MIB, GIB = 2**20, 2**30
MEMORY = "2g"
NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def small(image: str) -> Iterator[Lab]:
    with lab(image, mem_limit=MEMORY, memswap_limit=MEMORY, shm_size="1g") as started:
        yield started


@pytest.fixture
def survivor(small: Lab) -> Iterator[Lab]:
    """The Lab, which after the test must be as it was before."""
    with surviving(small):
        yield small


def in_parallel(times: int, do: Callable[[int], None], at_once: int = 20) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        for _ in pool.map(do, range(times)):
            pass


def connection(running: Lab) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(running.address, timeout=60)


def test_an_upload_that_breaks_off_is_seen_and_then_forgotten(survivor: Lab) -> None:
    """It also shows that the bound on memory sees what the server holds."""
    before = Footprint.of(survivor)
    host, _, port = survivor.address.partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        raw.sendall(
            f"PUT /api/contents/a.bin HTTP/1.1\r\nHost: {survivor.address}\r\nAuthorization: token {TOKEN}\r\n"
            f"Content-Length: {400 * MIB}\r\n\r\n".encode()
        )
        raw.sendall(b"x" * (300 * MIB))
        survivor.wait_until(lambda: not Footprint.of(survivor).is_near(before), "300 MiB are seen", BACK_WITHIN_S)
        status(survivor)
    came_back(survivor, before)


def test_ten_thousand_wrong_tokens(survivor: Lab) -> None:
    paths = ["api/contents", "api/kernels", "api/sessions", "files/notebooks/01_house_price.ipynb"]
    before, refused = len(survivor.container.logs()), Counter[int]()

    def ask(client: int) -> None:
        kept_alive = connection(survivor)
        for number in range(500):
            headers = {"Authorization": f"token {client}-{number}"}
            kept_alive.request("GET", f"/{paths[number % 4]}", headers=headers)
            answer = kept_alive.getresponse()
            answer.read()
            refused[answer.status] += 1

    in_parallel(20, ask)
    assert refused.total() == 10_000
    assert set(refused) <= {302, 403}, refused
    written = len(survivor.container.logs()) - before
    assert written / 10_000 < 300, "bytes of log for each request"


def test_an_address_of_sixty_kilobytes_is_not_kept_in_the_log(survivor: Lab) -> None:
    before = len(survivor.container.logs())
    for _ in range(10):
        assert survivor.get("api/contents/" + "x" * 60_000, token="wrong").status_code == 403
    assert len(survivor.container.logs()) - before < 10 * 10_000


def test_two_hundred_websockets_of_strangers(survivor: Lab) -> None:
    channels = survivor.url(f"api/kernels/{NOBODY}/channels", scheme="ws")

    def knock(_: int) -> None:
        with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
            websocket.create_connection(channels, timeout=60)

    in_parallel(200, knock)


def test_a_file_of_a_gigabyte_arrives_in_chunks_and_memory_stays(survivor: Lab) -> None:
    """As JupyterLab uploads: a mebibyte a request, the last one called -1."""
    before = Footprint.of(survivor)
    block, whole, kept_alive = os.urandom(MIB), hashlib.sha256(), connection(survivor)
    content = base64.b64encode(block).decode()
    for number in range(1, 1025):
        chunk = -1 if number == 1024 else number
        body = f'{{"type": "file", "format": "base64", "chunk": {chunk}, "content": "{content}"}}'
        kept_alive.request("PUT", "/api/contents/large.bin", body=body, headers=HEADERS)
        answer = kept_alive.getresponse()
        said = answer.read()
        assert answer.status in (200, 201), (number, said)
        whole.update(block)
    assert survivor.run("sha256sum", "/home/workstation/large.bin").output.split()[0] == whole.hexdigest()
    assert Footprint.of(survivor).peak_mib < before.peak_mib + MORE_MEMORY_MIB
    gone = requests.delete(survivor.url("api/contents/large.bin"), headers=HEADERS, timeout=60)
    assert gone.status_code == 204


@dataclass(frozen=True)
class Sent:
    status: int
    message: str
    mib: int


def send(running: Lab, size: int, headers: dict[str, str]) -> Sent:
    """One PUT of `size` bytes, as far as the server takes it, and its answer."""
    client, sent, block = connection(running), 0, b"x" * MIB
    client.putrequest("PUT", "/api/contents/one.bin")
    for name, value in (headers | {"Content-Length": str(size)}).items():
        client.putheader(name, value)
    client.endheaders()
    with contextlib.suppress(OSError):  # the answer came first, and the server hung up
        while sent < size:
            client.send(block)
            sent += MIB
    answer = client.getresponse()
    return Sent(answer.status, json.loads(answer.read())["message"], sent // MIB)


def test_a_gigabyte_in_one_request_is_refused_and_named(survivor: Lab) -> None:
    before = Footprint.of(survivor)
    sent = send(survivor, GIB, HEADERS)
    assert sent.status == 413
    assert "in chunks" in sent.message
    assert sent.mib < 64
    assert Footprint.of(survivor).peak_mib < before.peak_mib + MORE_MEMORY_MIB


def test_strangers_cannot_fill_the_memory(survivor: Lab) -> None:
    """Read before the token is asked for, these ended the Lab: 12 x 400 MiB do not fit into 2 GiB."""
    before = Footprint.of(survivor)

    def push(number: int) -> None:
        sent = send(survivor, 400 * MIB, {"Authorization": "token wrong"} if number % 2 else {})
        assert sent.status == 403
        assert "token" in sent.message
        assert sent.mib < 64

    in_parallel(12, push)
    assert Footprint.of(survivor).peak_mib < before.peak_mib + MORE_MEMORY_MIB


@pytest.mark.parametrize("shape", ["Transfer-Encoding: chunked", "Content-Length: 65537", "Content-Length: 5x"])
def test_a_stranger_cannot_hide_how_much_comes(small: Lab, shape: str) -> None:
    host, _, port = small.address.partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        raw.sendall(f"PUT /api/contents/a.bin HTTP/1.1\r\nHost: {small.address}\r\n{shape}\r\n\r\n".encode())
        assert raw.recv(12) == b"HTTP/1.1 403"


def test_a_login_may_send_much(small: Lab) -> None:
    """The page has no token after the first request, but a cookie."""
    browser = requests.Session()
    browser.get(small.url(f"lab?token={TOKEN}"), timeout=60)
    body = {"type": "file", "format": "text", "content": "x" * MIB}
    xsrf = {"X-XSRFToken": str(browser.cookies["_xsrf"])}
    assert browser.put(small.url("api/contents/a.txt"), json=body, headers=xsrf, timeout=60).status_code == 201


def test_two_hundred_websockets_at_once(small: Lab) -> None:
    """Twice to warm up: the allocator keeps room for as many. The third time must need no more."""
    kernel = requests.post(small.url("api/kernels"), headers=HEADERS, json={}, timeout=60).json()["id"]
    fresh = Footprint.of(small)
    for _ in range(2):
        with two_hundred(small, kernel):
            pass
        small.wait_until(lambda: Footprint.of(small).files <= fresh.files + MORE_FILES, "closed", BACK_WITHIN_S)
    with surviving(small) as before, two_hundred(small, kernel):
        assert small.run_code("print(6 * 7)").strip() == "42"
        held = Footprint.of(small)
        assert held.files >= before.files + 200
        assert not held.is_near(before), "the bound sees what is held"
    assert requests.delete(small.url(f"api/kernels/{kernel}"), headers=HEADERS, timeout=60).status_code == 204


@contextlib.contextmanager
def two_hundred(running: Lab, kernel: str) -> Iterator[None]:
    """Open browser tabs on one kernel; each speaks to it through sockets of its own in the server."""
    opened: list[websocket.WebSocket] = []

    def open_one(number: int) -> None:
        channels = running.url(f"api/kernels/{kernel}/channels?session_id={number}", scheme="ws")
        opened.append(websocket.create_connection(channels, header=[f"Authorization: token {TOKEN}"], timeout=60))

    try:
        in_parallel(200, open_one)
        yield
        assert all(one.connected for one in opened)
    finally:
        for one in opened:
            one.shutdown()
