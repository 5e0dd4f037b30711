"""A trained network leaves Python, answers as before, and serves strangers."""

from __future__ import annotations

import http.client
import io
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from workstation.examples import deployment, serving
from workstation.examples.cnn import convnet
from workstation.examples.datasets import digits
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings


@pytest.fixture(scope="module")
def network() -> nn.Module:
    seed_everything(0)
    return convnet(side=8).eval()


@pytest.fixture(scope="module")
def exported(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("exported")
    deployment.to_onnx(deployment.export(network, folder / "digits.pt2"), folder / "digits.onnx")
    return folder / "digits.pt2", folder / "digits.onnx"


@pytest.fixture(scope="module")
def server(exported: tuple[Path, Path]) -> Iterator[serving.DigitServer]:
    with serving.running(exported[1]) as running:
        yield running


@pytest.mark.slow
def test_exported_and_served_it_answers_as_the_network_does(settings: Settings) -> None:
    result = deployment.run(settings)
    assert result.holds(), result


def test_a_network_that_learnt_nothing_breaks_the_promise() -> None:
    result = deployment.run(Settings(epochs=1))
    assert max(result.export_difference, result.onnx_difference) <= deployment.TOLERANCE
    assert not result.holds()


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_any_number_of_pictures_is_answered_alike(network: nn.Module, exported: tuple[Path, Path], rows: int) -> None:
    images = digits()[0][:rows]
    with torch.inference_mode():
        answers = network(images)
    assert torch.allclose(deployment.run_exported(exported[0], images), answers, atol=deployment.TOLERANCE)
    assert torch.allclose(deployment.run_onnx(exported[1], images), answers, atol=deployment.TOLERANCE)


def test_another_network_is_further_away_than_the_tolerance(exported: tuple[Path, Path]) -> None:
    images = digits()[0][:10]
    seed_everything(1)
    with torch.inference_mode():
        other = convnet(side=8).eval()(images)
    assert not torch.allclose(deployment.run_onnx(exported[1], images), other, atol=deployment.TOLERANCE)


def test_what_is_exported_in_training_mode_answers_otherwise(tmp_path: Path) -> None:
    images = digits()[0][:10]
    seed_everything(0)
    network = convnet(side=8).train()
    deployment.export(network, tmp_path / "careless.pt2")
    with torch.inference_mode():
        answers = network.eval()(images)
    assert not torch.allclose(deployment.run_exported(tmp_path / "careless.pt2", images), answers, atol=0.01)


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if x.sum() > 0 else -x


@pytest.mark.filterwarnings("ignore")
def test_a_trace_keeps_one_branch_and_an_export_refuses_to_guess() -> None:
    traced = torch.jit.trace(Branch(), torch.ones(2))
    assert torch.equal(traced(-torch.ones(2)), torch.tensor([-2.0, -2.0]))  # wrong: the network says 1, 1
    with pytest.raises(RuntimeError, match="data-dependent"):
        torch.export.export(Branch(), (torch.ones(2),))


def test_a_picture_gets_the_networks_digit(network: nn.Module, server: serving.DigitServer) -> None:
    images = digits()[0][:20]
    with torch.inference_mode():
        answers = network(images).argmax(dim=1)
    assert [deployment.ask(server.url, deployment.as_png(image)) for image in images] == answers.tolist()


def test_a_large_colour_photograph_is_made_small_and_answered(server: serving.DigitServer) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), (120, 30, 200)).save(buffer, format="JPEG")
    with urllib.request.urlopen(f"{server.url}/predict", data=buffer.getvalue(), timeout=10) as answer:
        content = json.load(answer)
    assert content["digit"] in range(10)
    assert 0.1 <= content["probability"] <= 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/predict", b"no picture", 400),
        ("/predict", b"", 400),
        ("/predict", b"\x89PNG\r\n\x1a\n" + bytes(60), 400),
        ("/predict", bytes(serving.LARGEST + 1), 413),
        ("/elsewhere", b"x", 404),
        ("/elsewhere", None, 404),
    ],
)
def test_what_cannot_be_answered_is_refused_and_the_server_goes_on(
    server: serving.DigitServer, path: str, body: bytes | None, status: int
) -> None:
    # Sent piecemeal by http.client: a refusal must reach even a client that is still sending.
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=10)
    connection.putrequest("GET" if body is None else "POST", path)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    if body is not None and len(body) <= serving.LARGEST:
        connection.send(body)
    answer = connection.getresponse()
    assert answer.status == status
    assert "error" in json.load(answer)
    connection.close()
    with urllib.request.urlopen(f"{server.url}/health", timeout=10) as health:
        assert json.load(health) == {"status": "ok"}


def test_a_small_file_that_unpacks_to_a_huge_picture_is_refused(server: serving.DigitServer) -> None:
    buffer = io.BytesIO()
    Image.new("1", (3000, 3000)).save(buffer, format="PNG")
    assert len(buffer.getvalue()) < serving.LARGEST
    with pytest.raises(urllib.error.HTTPError) as refused:
        deployment.ask(server.url, buffer.getvalue())
    assert refused.value.code == 413


def test_serving_needs_no_torch() -> None:
    probe = "import sys, workstation.examples.serving; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False, timeout=60).returncode == 0


def test_as_a_program_it_says_where_it_serves_and_ends_on_ctrl_c(exported: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "workstation.examples.serving", str(exported[1]), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        url = program.stdout.readline().split()[-1]
        assert deployment.ask(url, deployment.as_png(digits()[0][0])) in range(10)
        program.send_signal(signal.SIGINT)
        assert program.wait(timeout=20) == 0
