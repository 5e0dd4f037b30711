"""The probes tell what they could see of a GPU that does not answer, with a stand-in for torch."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import pytest

from imagecheck.probes.distributed import choose_backend

TOO_OLD_A_CARD = RuntimeError("cuDNN version 92400 is not compatible with devices with SM < 7.5.")
LOST = AssertionError("Invalid device id")  # torch's word where NVML counts a GPU that CUDA does not


def probe(name: str, torch: MagicMock, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.delitem(sys.modules, f"imagecheck.probes.{name}", raising=False)
    return importlib.import_module(f"imagecheck.probes.{name}")


def test_a_lost_gpu_is_a_card_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = MagicMock()
    torch.cuda.get_device_properties.side_effect = LOST
    assert probe("gpu", torch, monkeypatch).card(7) == {"name": "GPU 7", "error": "AssertionError: Invalid device id"}


def test_a_card_without_kernels_still_tells_what_it_is_and_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = MagicMock()
    torch.cuda.get_device_properties.return_value = SimpleNamespace(name="GTX 1080", major=6, minor=1)
    torch.cuda.mem_get_info.return_value = (7, 8)
    torch.ones.side_effect = RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")
    card = probe("gpu", torch, monkeypatch).card(0)
    assert (card["capability"], card["free"], card["total"]) == ([6, 1], 7, 8)
    assert card["error"].endswith("on the device")


@pytest.mark.parametrize("refusal", [TOO_OLD_A_CARD, LOST], ids=["too old a card", "a lost one"])
def test_a_gpu_that_torch_refuses_does_not_hide_cudnn(refusal: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = MagicMock()
    torch.backends.cudnn.version.side_effect = refusal
    torch._C._cudnn.getVersionInt.return_value = 92400
    assert probe("cudnn", torch, monkeypatch).runtime_version() == (92400, str(refusal))


@pytest.mark.parametrize(
    ("available", "count", "expected"), [(True, 2, "nccl"), (True, 1, "gloo"), (False, 2, "gloo"), (False, 0, "gloo")]
)
def test_nccl_needs_gpus_that_cuda_can_use(available: bool, count: int, expected: str) -> None:
    cuda = SimpleNamespace(is_available=lambda: available, device_count=lambda: count)
    assert choose_backend(cuda) == expected
