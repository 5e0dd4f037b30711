"""A Jupyter server seen from outside: HTTP and the kernel protocol, with nothing but a token."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import Any

import websocket

from imagecheck.engine.container import ProbeError

SECONDS_TO_REPLY = 10.0


@dataclass
class Executed:
    """What a cell did: `error` is the kernel's traceback, empty where there was none."""

    output: str
    error: str


@dataclass
class Jupyter:
    """The server at `address` (host:port)."""

    address: str
    token: str

    def request(
        self, path: str, token: str | None, body: object = None, method: str = "GET", cookies: CookieJar | None = None
    ) -> tuple[int, bytes]:
        """Status and body. Without `cookies` nothing of an earlier request is sent: a login must not outlast its token.

        Raises:
            OSError: nothing answers.
        """
        jar = CookieJar() if cookies is None else cookies
        request = urllib.request.Request(f"http://{self.address}/{path}", method=method)
        if token is not None:
            request.add_header("Authorization", f"token {token}")
        for cookie in jar:
            if cookie.name == "_xsrf":
                request.add_header("X-XSRFToken", cookie.value or "")
        data = None if body is None else json.dumps(body).encode()
        # No proxy: a container is never behind the site's.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar))
        try:
            with opener.open(request, data=data, timeout=SECONDS_TO_REPLY) as reply:
                return int(reply.status), reply.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read()

    def status(self, path: str, token: str | None) -> int:
        """The HTTP status, 0 where nothing answers."""
        try:
            return self.request(path, token)[0]
        except (OSError, ValueError):
            return 0

    def answers(self) -> bool:
        """Whether /api, which needs no token, says a version."""
        try:
            status, body = self.request("api", None)
            return status == 200 and "version" in json.loads(body)
        except (OSError, ValueError):
            return False

    def kernel(self) -> Kernel:
        """A new kernel of the server's default kind. Raises ProbeError."""
        status, body = self.request("api/kernels", self.token, body={}, method="POST")
        if status == 403 and b"_xsrf" in body:  # a server without a token takes only what a page of its own sends
            page = CookieJar()
            self.request("tree", self.token, cookies=page)
            status, body = self.request("api/kernels", self.token, body={}, method="POST", cookies=page)
        if status != 201:
            raise ProbeError(f"POST /api/kernels answered {status}", log=body.decode(errors="replace")[:2000])
        return Kernel(self, json.loads(body)["id"])


class Kernel:
    """A kernel spoken to over the server's websocket (jupyter_client's messaging, protocol 5.3)."""

    def __init__(self, server: Jupyter, kernel_id: str) -> None:
        """Raises ProbeError where the server opens no websocket."""
        self._server = server
        self.id = kernel_id
        self._session = uuid.uuid4().hex
        try:
            self._socket = websocket.create_connection(
                f"ws://{server.address}/api/kernels/{kernel_id}/channels?session_id={self._session}",
                header=[f"Authorization: token {server.token}"],
                timeout=SECONDS_TO_REPLY,
                http_no_proxy=["*"],
            )
        except (websocket.WebSocketException, OSError) as error:
            raise ProbeError(f"no websocket to the kernel: {error}") from error

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._server.request(f"api/kernels/{self.id}", self._server.token, method="DELETE")

    def execute(self, code: str, *, timeout: float) -> Executed:
        """Run a cell to its end.

        Raises:
            ProbeError: the kernel was not done within `timeout` seconds, or the connection broke.
        """
        message = self.start(code)
        deadline = time.monotonic() + timeout
        output, error, replied, idle = [], "", False, False
        while not (replied and idle):
            answer = self._receive(deadline)
            if answer.get("parent_header", {}).get("msg_id") != message:
                continue
            kind, content = answer["msg_type"], answer["content"]
            if kind == "stream":
                output.append(content["text"])
            elif kind == "execute_result":
                output.append(content["data"].get("text/plain", ""))
            elif kind == "error":
                error = f"{content['ename']}: {content['evalue']}"
            replied = replied or kind == "execute_reply"
            idle = idle or (kind == "status" and content["execution_state"] == "idle")
        return Executed("".join(output), error)

    def start(self, code: str) -> str:
        """Send a cell and do not wait for it; the id of the message."""
        message = uuid.uuid4().hex
        header = {"msg_id": message, "msg_type": "execute_request", "session": self._session, "username": ""}
        body = {
            "channel": "shell",
            "header": header | {"version": "5.3"},
            "parent_header": {},
            "metadata": {},
            "content": {"code": code, "silent": False, "stop_on_error": True},
        }
        self._socket.send(json.dumps(body))
        return message

    def _receive(self, deadline: float) -> dict[str, Any]:
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                # With the control frames: recv() answers a server's ping and then waits as long again.
                kind, frame = self._socket.recv_data_frame(control_frame=True)
                if kind == websocket.ABNF.OPCODE_CLOSE:
                    raise ProbeError("the kernel's connection was closed")
                if kind not in (websocket.ABNF.OPCODE_PING, websocket.ABNF.OPCODE_PONG):
                    answer: dict[str, Any] = json.loads(frame.data)
                    return answer
            except websocket.WebSocketTimeoutException:
                break
            except (websocket.WebSocketException, ValueError, OSError) as error:
                raise ProbeError(f"the kernel's connection broke: {error}") from error
        raise ProbeError("the kernel was not done in time")
