"""The HTTP side, on tornado, which the Lab runs on too. It only waits and writes; the engine's thread computes."""

from __future__ import annotations

import asyncio
import hmac
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from socket import socket
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from workstation.errors import SettingError
from workstation.llm.causal import Causal
from workstation.llm.serve.answer import Piece
from workstation.llm.serve.engine import BusyError, Engine, Job
from workstation.llm.serve.protocol import Reply, Request, RequestError, read

LARGEST = 4 << 20  # bytes of one request: a stranger's upload must not fill the memory
IDLE = 60.0  # seconds that a connection may say nothing
LOCAL = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Address:
    """Where to serve, under which name, to whom."""

    name: str  # of the model, as clients ask for it
    host: str = "127.0.0.1"
    port: int = 8000  # 0: any free one
    key: str | None = None  # that clients must present
    together: int = 4  # requests answered at once
    waiting: int = 16  # requests that may wait; more are told to come again
    grace: float = 30.0  # seconds that answers under way have when the server is stopped


class Handler(RequestHandler):
    """What all pages share: the key, the body's bound, errors in OpenAI's shape."""

    def initialize(self, address: Address, engine: Engine) -> None:
        self.address, self.engine = address, engine

    def set_default_headers(self) -> None:
        self.clear_header("Server")

    def prepare(self) -> None:
        if self.address.key is not None and self.request.path != "/health":
            given = self.request.headers.get("Authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self.address.key.encode()):
                raise RequestError(HTTPStatus.UNAUTHORIZED, "Incorrect API key provided", code="invalid_api_key")
        length = self.request.headers.get("Content-Length", "0")
        if length.isdecimal() and int(length) > LARGEST:
            self._too_large()

    def data_received(self, chunk: bytes) -> None:
        """Most pages read no body."""

    def _too_large(self) -> None:
        raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request has more than {LARGEST} bytes")

    def write_error(self, status_code: int, **about: Any) -> None:
        error = about.get("exc_info", (None, None, None))[1]
        if not isinstance(error, RequestError):
            status = HTTPStatus(status_code)
            kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
            error = RequestError(status, f"{self.request.method} {self.request.path}: {status.phrase}", kind=kind)
        self.set_status(error.status)
        if error.retry_after is not None:
            self.set_header("Retry-After", str(error.retry_after))
        self.finish(error.as_dict())

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        if not isinstance(value, (RequestError, StreamClosedError)):
            super().log_exception(kind, value, trace)


@stream_request_body
class Nothing(Handler):
    def prepare(self) -> None:
        super().prepare()
        raise HTTPError(HTTPStatus.NOT_FOUND)


@stream_request_body
class Health(Handler):
    def get(self) -> None:
        self.finish({"status": "ok"})


@stream_request_body
class Models(Handler):
    def get(self, name: str | None = None) -> None:
        about = {
            "id": self.address.name,
            "object": "model",
            "created": self.settings["began"],
            "owned_by": "workstation",
        }
        if name is None:
            self.finish({"object": "list", "data": [about]})
        elif name == self.address.name:
            self.finish(about)
        else:
            raise RequestError(
                HTTPStatus.NOT_FOUND, f"The model {name!r} does not exist", param="model", code="model_not_found"
            )


@stream_request_body
class Completions(Handler):
    """A text gone on with, or a conversation."""

    def initialize(self, address: Address, engine: Engine, chat: bool = False) -> None:
        super().initialize(address, engine)
        self.chat, self.body = chat, bytearray()
        self._pieces: asyncio.Queue[Piece | Exception | None] = asyncio.Queue()
        self._job: Job | None = None

    def data_received(self, chunk: bytes) -> None:
        """What comes in chunks does not say how long it is. Above the bound it is read, as HTTP wants, and dropped."""
        if len(self.body) <= LARGEST:
            self.body += chunk

    async def post(self) -> None:
        if len(self.body) > LARGEST:
            self._too_large()
        under_way: set[asyncio.Future[Any]] = self.settings["under_way"]
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        request = read(bytes(self.body), self.engine.causal, self.address.name, chat=self.chat)
        loop = asyncio.get_running_loop()
        try:
            self._job = self.engine.submit(
                request.asked, lambda piece: loop.call_soon_threadsafe(self._pieces.put_nowait, piece)
            )
        except BusyError as busy:
            status = HTTPStatus.SERVICE_UNAVAILABLE if busy.closing else HTTPStatus.TOO_MANY_REQUESTS
            raise RequestError(
                status, f"{busy}; come again later", kind="server_error", code="busy", retry_after=busy.retry_after
            ) from busy
        reply = Reply(request, self.address.name)
        if request.stream:
            await self._stream(request, reply)
        else:
            await self._whole(reply)

    def on_connection_close(self) -> None:
        """The client went away: its answer is not computed any further."""
        if self._job is not None:
            self._job.cancel()
        self._pieces.put_nowait(None)

    async def _whole(self, reply: Reply) -> None:
        text = ""
        while (piece := await self._next()) is not None:
            text += piece.text
            if piece.finish is not None:
                await self.finish(reply.whole(text, piece))
                return

    async def _stream(self, request: Request, reply: Reply) -> None:
        piece = await self._next()  # what fails at once still gets its status
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")  # a proxy must not collect the pieces
        first = reply.first()
        if first is not None:
            await self._event(first)
        while piece is not None:
            if piece.text or piece.finish is not None:
                await self._event(reply.part(piece))
            if piece.finish is not None:
                if request.usage_in_stream:
                    await self._event(reply.count(piece))
                await self._event("[DONE]")
                return
            try:
                piece = await self._next()
            except RequestError as error:  # the status is out: all that is left is to say it
                await self._event(error.as_dict())
                return

    async def _next(self) -> Piece | None:
        """None: nobody listens."""
        piece = await self._pieces.get()
        if isinstance(piece, Exception):
            raise RequestError(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"the model failed: {type(piece).__name__}", kind="server_error"
            ) from piece
        return piece

    async def _event(self, content: dict[str, Any] | str) -> None:
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        self.write(f"data: {text}\n\n")
        try:
            await self.flush()
        except StreamClosedError:
            self.on_connection_close()
            raise


@dataclass(frozen=True)
class Serving:
    """A server that listens."""

    url: str
    engine: Engine
    http: HTTPServer
    under_way: set[asyncio.Future[Any]]

    async def stop(self, grace: float) -> None:
        """Take no more requests, let those under way be answered for `grace` seconds, close."""
        self.http.stop()
        self.engine.refuse()
        if self.under_way:
            await asyncio.wait(self.under_way, timeout=grace)
        await self.http.close_all_connections()
        self.engine.close()


def bind(address: Address) -> list[socket]:
    """Take the address: clients that come now are answered once there is a server. SettingError where it is taken."""
    try:
        sockets: list[socket] = bind_sockets(address.port, address.host)
    except OSError as error:
        raise SettingError(
            f"{address.host}:{address.port} cannot be listened on: {error.strerror or error}",
            remedy="Choose another --port or --host.",
        ) from error
    return sockets


def listen(causal: Causal, address: Address, sockets: list[socket]) -> Serving:
    """Begin to serve, on the running event loop."""
    engine = Engine(causal, together=address.together, waiting=address.waiting)
    shared: dict[str, Any] = {"address": address, "engine": engine}
    under_way: set[asyncio.Future[Any]] = set()
    pages = [
        (r"/health", Health, shared),
        (r"/v1/models", Models, shared),
        (r"/v1/models/(.+)", Models, shared),
        (r"/v1/completions", Completions, {**shared, "chat": False}),
        (r"/v1/chat/completions", Completions, {**shared, "chat": True}),
    ]
    application = Application(
        pages, default_handler_class=Nothing, default_handler_args=shared, log_function=lambda _: None,
        began=int(time.time()), under_way=under_way,
    )  # fmt: skip
    server = HTTPServer(application, idle_connection_timeout=IDLE, body_timeout=IDLE, xheaders=False)
    server.add_sockets(sockets)
    host, port = sockets[0].getsockname()[:2]
    return Serving(f"http://{f'[{host}]' if ':' in host else host}:{port}", engine, server, under_way)


async def serve(causal: Causal, address: Address, sockets: list[socket]) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    serving = listen(causal, address, sockets)
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    print(f"serving {address.name} at {serving.url}/v1", flush=True)
    await asked_to_stop.wait()
    await serving.stop(address.grace)


@contextmanager
def running(causal: Causal, address: Address) -> Iterator[Serving]:
    """Serve in a thread until the block ends: for a notebook, and for tests."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> Serving:
        return listen(causal, address, bind(address))

    try:
        serving = asyncio.run_coroutine_threadsafe(begin(), loop).result()
        try:
            yield serving
        finally:
            asyncio.run_coroutine_threadsafe(serving.stop(0), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
