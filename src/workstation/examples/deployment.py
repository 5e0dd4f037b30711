"""From a trained network to a service (A2 §2.7; claim 36).

The article names ONNX and "a Python script" and shows neither. Here the digit network of the CNN chapter leaves Python
by two doors: `torch.export` writes the graph and the weights as one .pt2, and from the same graph comes an ONNX file
that a server runs without torch. Both must answer as the network does, for any number of pictures.
"""

from __future__ import annotations

import io
import json
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
import torch
from PIL import Image
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from workstation.examples.cnn import convnet, train
from workstation.examples.datasets import DIGITS, digits, split
from workstation.examples.serving import running
from workstation.training.loop import Hook
from workstation.training.scores import accuracy
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

DATA = str(DIGITS)
PROMISE = "both exports answer as the network does, to 1e-4, and the server reads at least 98 % of unseen digits"
TOLERANCE = 1e-4  # between logits of about 10: float32 sums in another order differ by about 1e-5


@dataclass(frozen=True)
class Result:
    """On the 360 digits that were not trained on. A difference is the largest one between two logits."""

    export_difference: float
    onnx_difference: float
    accuracy: float  # of the network itself
    served_accuracy: float  # of the same pictures as PNG files, one HTTP request each

    def holds(self) -> bool:
        return max(self.export_difference, self.onnx_difference) <= TOLERANCE and self.served_accuracy >= 0.98


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    images, classes = digits()
    unseen = split(classes, 0.2, settings.seed)[1]
    seed_everything(settings.seed)
    network = convnet(side=8)
    train(network, settings, hooks, name="cnn")
    network.cpu().eval()  # what is exported is what runs: in training mode dropout would be part of the graph
    with torch.inference_mode():
        answers = network(images[unseen])  # (360, 10)

    with tempfile.TemporaryDirectory() as folder:
        program = export(network, Path(folder) / "digits.pt2")
        to_onnx(program, Path(folder) / "digits.onnx")
        loaded = run_exported(Path(folder) / "digits.pt2", images[unseen])
        by_onnx = run_onnx(Path(folder) / "digits.onnx", images[unseen])
        with running(Path(folder) / "digits.onnx") as server:
            served = torch.tensor([ask(server.url, as_png(image)) for image in images[unseen]])
    right = served == classes[unseen]
    return Result(
        (loaded - answers).abs().max().item(),
        (by_onnx - answers).abs().max().item(),
        accuracy(answers, classes[unseen]),
        right.double().mean().item(),
    )


def export(network: nn.Module, path: Path) -> ExportedProgram:
    """Write the whole computation, for 1, 2, 3, … pictures of (1, 8, 8), to `path` as .pt2."""
    # Two pictures, not one: a dimension of 1 is taken for a constant.
    program = torch.export.export(network, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: Dim("pictures")},))
    torch.export.save(program, path)
    return program


def to_onnx(program: ExportedProgram, path: Path) -> None:
    """Write the same graph as one ONNX file, weights included, and have it checked."""
    translated = torch.onnx.export(
        program, dynamo=True, input_names=["pictures"], output_names=["logits"], verbose=False
    )
    assert translated is not None  # None is the answer of the old exporter alone
    translated.save(path)
    onnx.checker.check_model(path, full_check=True)


def run_exported(path: Path, images: Tensor) -> Tensor:
    """Load a .pt2 and run it: its Python class is not needed. Never load one from a stranger."""
    with torch.inference_mode():
        answer: Tensor = torch.export.load(path).module()(images)
    return answer


def run_onnx(path: Path, images: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"pictures": images.numpy()})[0])


def as_png(image: Tensor) -> bytes:
    """(1, 8, 8) from 0 to 1, as a file that any program can send."""
    buffer = io.BytesIO()
    Image.fromarray((255 * image[0]).round().to(torch.uint8).numpy()).save(buffer, format="PNG")
    return buffer.getvalue()


def ask(url: str, picture: bytes) -> int:
    """Send one picture, as any client would. Raises urllib.error.HTTPError where the server refuses it."""
    with urllib.request.urlopen(f"{url}/predict", data=picture, timeout=10) as answer:
        digit: int = json.load(answer)["digit"]
    return digit
