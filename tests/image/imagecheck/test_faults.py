"""Every check can fail: on a broken image exactly the expected one does, and says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from building import SMALL_TAG, build_fault, build_small, remove
from container_faults import CONTAINER_FAULTS
from fault import Fault
from torch_faults import TORCH_FAULTS

from imagecheck import Outcome, judge
from imagecheck.registry import every_check

FAULTS = (*TORCH_FAULTS, *CONTAINER_FAULTS)
GPU_ONLY = {"gpu.visible", "gpu.driver", "gpu.kernels", "gpu.memory", "compile.gpu", "cudnn.convolution"}
PROVEN_ELSEWHERE = {"server.notebook"}  # test_notebook_check.py: the fault is in the notebook, not in an image


@pytest.fixture(scope="session")
def _small_base() -> Iterator[None]:
    build_small()
    yield
    remove(SMALL_TAG)


@pytest.mark.slow
@pytest.mark.usefixtures("_small_base")
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_fails_exactly_its_check_and_names_the_remedy(fault: Fault, image: str) -> None:
    tag = build_fault(fault, image)
    try:
        card = judge(tag, replace(fault.settings, only=fault.groups))
    finally:
        if tag != image:
            remove(tag)
    told = {result.check: (result.outcome.value, result.finding.summary) for result in card.results}
    assert {result.check for result in card.with_outcome(Outcome.FAIL)} == {fault.fails}, told
    assert not card.with_outcome(Outcome.ERROR), told
    failure = next(result for result in card.results if result.check == fault.fails)
    assert fault.remedy in failure.remedy


def test_every_check_that_a_cpu_can_decide_has_a_fault() -> None:
    proven = {fault.fails for fault in FAULTS} | GPU_ONLY | PROVEN_ELSEWHERE
    assert {check.id for check in every_check()} == proven
