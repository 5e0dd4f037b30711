"""What results add up to: a skip is never a pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
from recorded import RecordedBench, image

from imagecheck.bench import Bench, Blocked
from imagecheck.engine.container import ProbeError
from imagecheck.errors import UsageError
from imagecheck.outcome import Finding, Outcome, Result, failed, passed, skipped
from imagecheck.registry import Check, every_check, select
from imagecheck.scorecard import Scorecard
from imagecheck.settings import Gpu, Settings, parse_size
from imagecheck.suite import is_required, judge_check, never_ran, selected

BROKEN = Finding(Outcome.ERROR, "it broke")


def exit_code(*findings: Finding, required: bool = False) -> int:
    results = tuple(Result("stack.imports", "", finding, 0.0, required) for finding in findings)
    return Scorecard(image(), results, 0.0, "").exit_code


def test_exit_codes_tell_failed_from_undecided_from_passed() -> None:
    assert exit_code(passed("yes"), skipped("no GPU")) == 0
    assert exit_code(passed("yes"), failed("no", remedy="do"), BROKEN) == 1
    assert exit_code(passed("yes"), BROKEN) == 3


def test_a_required_check_that_skips_has_failed() -> None:
    assert exit_code(skipped("no GPU"), required=True) == 1


def test_a_required_check_that_never_ran_has_failed() -> None:
    settings = Settings(only=("stack",), require=("cudnn.pinned",))
    (result,) = never_ran(selected(settings), settings)
    assert (result.check, result.outcome) == ("cudnn.pinned", Outcome.FAIL)


def test_requiring_a_gpu_requires_the_gpu_checks() -> None:
    check = next(check for check in every_check() if check.id == "gpu.visible")
    assert is_required(check, Settings(gpu=Gpu.REQUIRE))
    assert not is_required(check, Settings())


@pytest.mark.parametrize("option", ["only", "deselect", "require"])
def test_a_name_that_no_check_has_is_an_error(option: str) -> None:
    with pytest.raises(UsageError, match="cuda-magic"):
        selected(replace(Settings(), **{option: ("cuda-magic",)}))


def test_a_selection_that_leaves_nothing_is_an_error() -> None:
    with pytest.raises(UsageError):
        selected(Settings(only=("gpu",), deselect=("gpu",)))


def test_a_group_and_a_check_can_both_be_named() -> None:
    chosen = {check.id for check in select(every_check(), only=("gpu", "stack.nccl"), deselect=("gpu.memory",))}
    assert chosen == {"gpu.visible", "gpu.driver", "gpu.kernels", "stack.nccl"}


def raising(error: Exception) -> Check:
    def judge(_bench: Bench) -> Finding:
        raise error

    return Check("stack.test", "", judge)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Blocked("torch does not import"), Outcome.SKIP),
        (ProbeError("the container ended", log="last words"), Outcome.ERROR),
        (KeyError("facts"), Outcome.ERROR),
    ],
)
def test_what_keeps_a_check_from_judging_is_no_pass(error: Exception, expected: Outcome) -> None:
    assert judge_check(raising(error), RecordedBench({}), required=False).outcome is expected


def test_the_last_words_of_a_dead_container_are_in_the_evidence() -> None:
    result = judge_check(
        raising(ProbeError("the container ended", log="last words")), RecordedBench({}), required=False
    )
    assert result.finding.evidence["log"] == "last words"


def test_every_check_has_a_promise_that_reads_as_a_sentence_and_a_stable_place() -> None:
    checks = every_check()
    assert len({check.id for check in checks}) == len(checks)
    assert all(len(check.promise) > 20 and not check.promise.endswith(".") for check in checks)


@pytest.mark.parametrize(("text", "size"), [("64m", 64 << 20), ("1g", 1 << 30), ("1GiB", 1 << 30), ("4096", 4096)])
def test_sizes_are_read_as_docker_reads_them(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_size_that_is_none_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="lots"):
        parse_size("lots")
