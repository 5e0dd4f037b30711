"""A kernel, spoken to as a browser does: started over REST, asked over its websocket (Jupyter messaging 5.4)."""

from __future__ import annotations

import json
import uuid
from typing import Any

import requests
import websocket
from lab import TOKEN, Lab

PATIENCE_S = 180


class CodeError(AssertionError):
    """The code raised inside the kernel."""


def run_code(lab: Lab, code: str) -> str:
    """What `code` prints in a fresh kernel. Raises CodeError with the kernel's own traceback."""
    kernel = requests.post(lab.url("api/kernels"), headers=_authorization(TOKEN), timeout=60).json()["id"]
    channel = connect(lab, kernel)
    try:
        return _execute(channel, code)
    finally:
        channel.close()
        requests.delete(lab.url(f"api/kernels/{kernel}"), headers=_authorization(TOKEN), timeout=60)


def connect(lab: Lab, kernel: str, token: str | None = TOKEN) -> websocket.WebSocket:
    headers = [f"{name}: {value}" for name, value in _authorization(token).items()] if token else []
    url = lab.url(f"api/kernels/{kernel}/channels", scheme="ws")
    return websocket.create_connection(url, header=headers, timeout=PATIENCE_S)


def _authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"token {token}"}


def _execute(channel: websocket.WebSocket, code: str) -> str:
    asked = uuid.uuid4().hex
    request = {
        "header": {"msg_id": asked, "msg_type": "execute_request", "username": "", "session": asked, "version": "5.4"},
        "parent_header": {},
        "metadata": {},
        "content": {"code": code, "silent": False, "store_history": False, "allow_stdin": False},
        "channel": "shell",
        "buffers": [],
    }
    channel.send(json.dumps(request))
    printed = []
    while True:
        message: dict[str, Any] = json.loads(channel.recv())
        if message["parent_header"].get("msg_id") != asked:
            continue
        content = message["content"]
        match message["msg_type"]:
            case "stream" if content["name"] == "stdout":
                printed.append(content["text"])
            case "error":
                raise CodeError("\n".join(content["traceback"]))
            case "status" if content["execution_state"] == "idle":
                return "".join(printed)
