"""A server of public data on this machine, in the very formats that the public servers have."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import struct
import threading
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from workstation.examples.datasets import digits


class Shelf:
    """Files by name, served over HTTP on the loopback; every GET that gets one is noted."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.taken: list[str] = []
        self.gives: Callable[[bytes], bytes] = lambda content: content  # what leaves the server of each file
        self.stop = threading.Event()
        shelf = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 60  # not what a test gives the client, who is in this process too

            def do_HEAD(self) -> None:
                self.send_response(200)
                self.end_headers()

            def do_GET(self) -> None:
                content = shelf.files[self.path.lstrip("/")]
                shelf.taken.append(self.path.lstrip("/"))
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(shelf.gives(content))
                self.wfile.flush()
                if shelf.gives is silent:
                    shelf.stop.wait(60)

            def log_message(self, *_: object) -> None:
                """Not on the test's output."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


def whole(content: bytes) -> bytes:
    return content


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def silent(content: bytes) -> bytes:
    """Half, and then nothing, with the line still open."""
    return half(content)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def pictures(rows: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The digits, enlarged: (rows, side, side) in uint8 and their classes."""
    images, classes = digits()
    large = F.interpolate(images[:rows], size=side, mode="bilinear") * 255
    return large[:, 0].to(torch.uint8).numpy(), classes[:rows].numpy().astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    """The format of MNIST and Fashion-MNIST: two zeros, 8 for uint8, the sides in big-endian, the bytes; gzipped."""
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)
