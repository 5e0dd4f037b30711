"""What a digit network weighs: its bytes, its time, its accuracy, by the same scales for every one."""

from __future__ import annotations

import gzip
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from workstation.examples.datasets import digits, split
from workstation.examples.deployment import to_onnx
from workstation.training.scores import accuracy


@dataclass(frozen=True)
class Weighed:
    """One network on the scales: 360 unseen digits, its ONNX file, 256 pictures at once on one thread."""

    accuracy: float
    bytes: int
    zipped: int  # the same file, compressed: here zeros count
    milliseconds: float


class Scales:
    """The same scales for every network."""

    def __init__(self, seed: int) -> None:
        images, classes = digits()
        unseen = split(classes, 0.2, seed)[1]
        self._images, self._classes, self._many = images[unseen].numpy(), classes[unseen], images[:256].numpy()

    def weigh(self, network: nn.Module) -> Weighed:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            to_onnx(graph(network), path)
            content = path.read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        logits = torch.from_numpy(session.run(None, {"pictures": self._images})[0])
        return Weighed(
            accuracy(logits, self._classes),
            len(content),
            len(gzip.compress(content, mtime=0)),
            _milliseconds(lambda: session.run(None, {"pictures": self._many})),
        )


def _milliseconds(call: Callable[[], Any]) -> float:
    """The best of 30: other programs on the machine only ever make it slower."""
    best = float("inf")
    for _ in range(30):
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return 1000 * best


def graph(network: nn.Module) -> ExportedProgram:
    """The network as a graph on the CPU, in evaluation mode, for any number of pictures."""
    if not isinstance(network, torch.fx.GraphModule):  # a quantised graph is for evaluation only, and says so
        network = network.cpu().eval()
    return torch.export.export(network, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: Dim("pictures")},))
