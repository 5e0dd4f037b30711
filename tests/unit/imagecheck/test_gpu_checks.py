"""GPU checks judge recorded documents here: no machine of this project's CI has a GPU."""

from __future__ import annotations

import pytest
from recorded import IMPORTED, RecordedBench, card, gpu_document

from imagecheck.checks import compile as compile_checks
from imagecheck.checks import cudnn, gpu, training
from imagecheck.engine.container import Document
from imagecheck.outcome import Outcome
from imagecheck.registry import Check
from imagecheck.suite import judge_check


def outcome(judge: object, document: Document, host_gpus: int = 1) -> tuple[Outcome, str]:
    assert callable(judge)
    bench = RecordedBench({"stack": IMPORTED, "gpu": document}, host_gpus=host_gpus)
    result = judge_check(Check("gpu.test", "", judge), bench, required=False)
    return result.outcome, result.remedy


def test_all_the_hosts_gpus_that_compute_pass() -> None:
    assert outcome(gpu.visible, gpu_document(card(), card()), host_gpus=2)[0] is Outcome.PASS


def test_a_gpu_the_image_hides_fails() -> None:
    found, remedy = outcome(gpu.visible, gpu_document(card()), host_gpus=2)
    assert found is Outcome.FAIL
    assert "NVIDIA_VISIBLE_DEVICES" in remedy


def test_a_gpu_that_fell_off_the_bus_fails() -> None:
    found, remedy = outcome(gpu.visible, gpu_document(card(answer=None, error="CUDA error: unspecified")))
    assert found is Outcome.FAIL
    assert "Xid" in remedy


def test_a_driver_too_old_for_cuda_is_not_blamed_on_the_card_or_on_torch() -> None:
    silent = {"name": "GPU 0", "error": "RuntimeError: The NVIDIA driver on your system is too old"}
    document = gpu_document(silent, driver_cuda=12080)
    found, remedy = outcome(gpu.visible, document)
    assert found is Outcome.FAIL
    assert "gpu.driver" in remedy
    assert outcome(gpu.driver, document)[0] is Outcome.FAIL
    assert outcome(gpu.kernels, document)[0] is Outcome.SKIP
    assert outcome(gpu.memory, document)[0] is Outcome.SKIP


def test_without_a_gpu_the_checks_skip_and_do_not_pass() -> None:
    for judge in (gpu.visible, gpu.driver, gpu.kernels, gpu.memory):
        assert outcome(judge, gpu_document(), host_gpus=0)[0] is Outcome.SKIP


@pytest.mark.parametrize(("offered", "expected"), [(13000, Outcome.PASS), (13020, Outcome.PASS), (12080, Outcome.FAIL)])
def test_a_driver_of_an_older_major_release_fails(offered: int, expected: Outcome) -> None:
    assert outcome(gpu.driver, gpu_document(card(), driver_cuda=offered))[0] is expected


@pytest.mark.parametrize(
    ("capability", "arches", "runs"),
    [
        ((9, 0), ["sm_90"], True),
        ((8, 9), ["sm_80", "sm_86"], True),  # a cubin runs on later minors of its major
        ((7, 0), ["sm_75", "sm_80"], False),
        ((12, 0), ["sm_90"], False),
        ((12, 0), ["sm_90", "compute_90"], True),  # PTX is compiled for what comes later
        ((9, 0), ["sm_90a"], True),
        ((10, 3), ["sm_100a"], False),  # an `a` target is for exactly that card
    ],
)
def test_kernels_cover_a_card(capability: tuple[int, int], arches: list[str], runs: bool) -> None:
    assert gpu.covered(capability, arches) is runs


def test_a_card_without_kernels_fails() -> None:
    found, remedy = outcome(gpu.kernels, gpu_document(card((7, 0))))
    assert found is Outcome.FAIL
    assert "torch release" in remedy


def test_a_card_without_kernels_is_known_by_what_it_told_before_it_failed() -> None:
    refused = card((6, 1), answer=None, error="AcceleratorError: CUDA error: no kernel image is available")
    assert outcome(gpu.kernels, gpu_document(refused))[0] is Outcome.FAIL
    assert outcome(gpu.memory, gpu_document(refused))[0] is Outcome.PASS
    assert "gpu.kernels" in outcome(gpu.visible, gpu_document(refused))[1]


def test_memory_that_somebody_else_holds_fails() -> None:
    found, remedy = outcome(gpu.memory, gpu_document(card(), card(free=1 << 30)))
    assert found is Outcome.FAIL
    assert "nvidia-smi" in remedy


def test_what_a_gpu_refuses_is_not_blamed_on_torchs_gradients() -> None:
    task = {"error": "AcceleratorError: CUDA error: no kernel image is available for execution on the device"}
    bench = RecordedBench({"stack": IMPORTED, "training": dict.fromkeys(("regression", "digits", "gpt"), task)})
    finding = training.digits(bench)
    assert finding.outcome is Outcome.FAIL
    assert "gpu.kernels" in finding.remedy
    repeats = judge_check(Check("training.repeats", "", training.repeats), bench, required=False)
    assert repeats.outcome is Outcome.SKIP


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        ("cuDNN version 92400 is not compatible with devices with SM < 7.5.", Outcome.PASS),
        ("cuDNN version incompatibility: PyTorch was compiled against (9, 24, 0)", Outcome.FAIL),
    ],
)
def test_an_unpinned_cudnn_is_wrong_only_where_its_version_is_refused(refusal: str, expected: Outcome) -> None:
    document = {"built": True, "version": 92400, "refusal": refusal, "files": []}
    assert cudnn.pinned(RecordedBench({"stack": IMPORTED, "cudnn": document})).outcome is expected


def test_a_wrong_cudnn_convolution_fails() -> None:
    line = {"error": 0.1, "bound": 1e-5, "holds": False}
    found = {"built": True, "version": 92400}
    bench = RecordedBench({"stack": IMPORTED, "cudnn": found, "numerics": {"convolution": line}})
    finding = cudnn.convolution(bench)
    assert finding.outcome is Outcome.FAIL
    assert "cudnn.whole" in finding.remedy


def test_a_gpu_compilation_that_made_no_kernel_fails() -> None:
    nothing = {"graphs": 0, "kernels": 0, "graph_breaks": 0, "seconds": 0.1, "uid": 0, "folder": "/"}
    bench = RecordedBench({"stack": IMPORTED, "compile": nothing})
    assert compile_checks.gpu(bench).outcome is Outcome.FAIL
