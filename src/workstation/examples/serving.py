"""A digit server: a picture goes in by HTTP, a digit comes out as JSON. It needs onnxruntime and no torch.

python -m workstation.examples.serving digits.onnx --port 8000
curl --data-binary @seven.png http://127.0.0.1:8000/predict
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, UnidentifiedImageError

SIDE = 8
# A stranger's upload must not fill the memory: neither as it comes nor once it is unpacked.
LARGEST = 1 << 20  # bytes of one request
MOST_PIXELS = 1 << 22


class RequestError(Exception):
    """What is wrong with a request, and the status that says so."""

    def __init__(self, status: HTTPStatus, what: str) -> None:
        super().__init__(what)
        self.status = status


class DigitServer(ThreadingHTTPServer):
    """One thread a connection. They share the session, whose `run` may be called by many at once."""

    daemon_threads = True

    def __init__(self, model: Path, port: int, host: str = "127.0.0.1") -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the requests are what runs side by side
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        super().__init__((host, port), Handler)

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_port}"

    def logits(self, images: np.ndarray) -> np.ndarray:
        """(n, 1, 8, 8) from 0 to 1, float32; the answer is (n, 10)."""
        answer: np.ndarray = self._session.run(None, {self._session.get_inputs()[0].name: images})[0]
        return answer


class Handler(BaseHTTPRequestHandler):
    """GET /health says that the model is loaded; POST /predict takes one picture as its body."""

    server: DigitServer
    timeout = 10  # seconds without a byte: a client that says nothing must not hold a thread for ever
    protocol_version = "HTTP/1.1"  # keep the connection: most of a small request is opening one

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(HTTPStatus.OK, {"status": "ok"})
        else:
            self._refuse(RequestError(HTTPStatus.NOT_FOUND, f"no page is called {self.path}"))

    def do_POST(self) -> None:
        try:
            if self.path != "/predict":
                raise RequestError(HTTPStatus.NOT_FOUND, f"no page is called {self.path}")
            self._answer(HTTPStatus.OK, read_digit(self.server, self._body()))
        except RequestError as error:
            self._refuse(error)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise RequestError(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing")
        if int(length) > LARGEST:
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {LARGEST} bytes")
        return self.rfile.read(int(length))

    def _refuse(self, error: RequestError) -> None:
        self.close_connection = True  # its body may be unread, and would be taken for the next request
        self._answer(error.status, {"error": str(error)})

    def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silence: a notebook's output is not an access log."""


def read_digit(server: DigitServer, body: bytes) -> dict[str, Any]:
    """The digit and how sure the model is. RequestError where `body` is no picture, or too large a one."""
    try:
        with Image.open(io.BytesIO(body)) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MOST_PIXELS} pixels")
            small = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, "the body is no picture that can be read") from error
    pixels = np.asarray(small, dtype=np.float32)[None, None] / 255
    logits = server.logits(pixels)[0].astype(np.float64)
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    return {"digit": int(chances.argmax()), "probability": round(float(chances.max()), 6)}


@contextlib.contextmanager
def running(model: Path, port: int = 0) -> Iterator[DigitServer]:
    """Serve in a thread until the block ends. Port 0: any free one."""
    with DigitServer(model, port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description="Read digits over HTTP.")
    parser.add_argument("model", type=Path, help="an ONNX file that the deployment chapter wrote")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0: any free one")
    arguments = parser.parse_args()
    with DigitServer(arguments.model, arguments.port) as server:
        print(f"serving {arguments.model} at {server.url}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
