"""A job on three nodes ends where the undisturbed one ends, whatever happens to it on the way.

Real containers of the image. `make cluster-test` does the faults marked short; `make cluster-faults` does all of them,
three times each, and writes docs/benchmarks/faults.md.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from recovery_table import Outcome, Record
from suffering import FAULTS, Fault

from cluster import Cluster, Line, cluster

STEPS = 60
EXACT = 1e-6
NODES = 3
FAULT_AT = 15  # the step from which on it may happen
SECONDS_ALONE = 10  # longer than a node needs to begin


@pytest.fixture(scope="session")
def undisturbed(image: str, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of the same job on one node, that nothing happened to."""
    with cluster(image, tmp_path_factory.mktemp("undisturbed") / "run") as alone:
        alone.may_end()
        alone.up(nodes=1)
        losses: list[float] = alone.wait_for_end()["curve"]
    assert len(losses) == STEPS
    return losses


def marked(fault: Fault) -> Any:
    return pytest.param(fault, id=fault.what.replace(" ", "-"), marks=[] if fault.short else [pytest.mark.slow])


@dataclass(frozen=True)
class Bench:
    image: str
    undisturbed: list[float]
    record: Record
    repeats: int


@pytest.fixture
def bench(image: str, undisturbed: list[float], record: Record, request: pytest.FixtureRequest) -> Bench:
    return Bench(image, undisturbed, record, request.config.getoption("--repeats"))


@pytest.mark.parametrize("fault", [marked(fault) for fault in FAULTS])
def test_the_job_ends_where_the_undisturbed_one_does(fault: Fault, bench: Bench, tmp_path: Path) -> None:
    for repeat in range(bench.repeats):
        bench.record.add(fault, suffered(fault, bench, tmp_path / str(repeat)))


def suffered(fault: Fault, bench: Bench, directory: Path) -> Outcome:
    """What it cost; AssertionError where the job does not end as it should."""
    with cluster(bench.image, directory, **fault.settings) as job:
        job.up(NODES)
        job.wait_for_step(FAULT_AT)
        job.wait("its checkpoints", lambda: len(job.checkpoints()) > fault.damages)
        saved, began = job.saved_steps()[-1 - fault.damages], time.time()
        fault.done(job)
        if fault.interrupts:
            job.wait(f"a start on {fault.nodes} nodes", lambda: fault.nodes in nodes_of_starts(job.log(), began))
        job.may_end()
        result = job.wait_for_end()
        assert len(set(result["weights"])) == 1, "the nodes' weights differ"
        off = largest_difference(result["curve"], bench.undisturbed)
        assert off <= EXACT
        starts = check_log(job.log())
        assert (starts > 1) == fault.interrupts, f"started {starts} times: the fault did not do what it says"
        assert oldest_start(job.log(), began) >= saved, f"step {saved} was saved, and made again"
        repeated = steps_made_twice(job.log())
        assert not (fault.announced and repeated), f"{repeated} steps made twice, though there was time to save"
        return Outcome(standstill(job.log(), began), repeated, off)


def test_forgotten_moments_are_noticed(image: str, undisturbed: list[float], tmp_path: Path) -> None:
    """The comparison above can fail: Adam's moments set to nought when the job goes on."""
    with cluster(image, tmp_path / "run", LOSE_MOMENTS="1") as job:
        job.may_end()
        job.up(nodes=1)
        job.wait_for_step(FAULT_AT)
        job.kill_worker(job.head)
        assert largest_difference(job.wait_for_end()["curve"], undisturbed) > 100 * EXACT


@pytest.mark.slow
def test_it_waits_for_the_fewest_nodes_and_takes_those_that_come_late(
    image: str, undisturbed: list[float], tmp_path: Path
) -> None:
    with cluster(image, tmp_path / "run", MIN_NODES="2") as job:
        job.up(nodes=1)
        time.sleep(SECONDS_ALONE)
        assert not job.log(), "one node began, where two are the fewest"
        job.up(nodes=2)
        job.wait("a start on 2 nodes", lambda: 2 in nodes_of_starts(job.log(), 0.0))
        job.up(nodes=3)
        job.wait("a start on 3 nodes", lambda: 3 in nodes_of_starts(job.log(), 0.0))
        job.docker("kill", job.node(1), job.node(2))
        job.wait("no more steps", lambda: time.time() - job.log()[-1].time > SECONDS_ALONE)
        assert job.state(job.head) == "running"
        job.docker("start", job.node(1))
        job.may_end()
        result = job.wait_for_end()
        assert len(result["weights"]) == 2
        assert largest_difference(result["curve"], undisturbed) <= EXACT


@pytest.mark.slow
def test_a_worker_that_hangs_says_where_when_it_is_aborted_and_the_job_goes_on(image: str, tmp_path: Path) -> None:
    with cluster(image, tmp_path / "run") as job:
        job.may_end()
        job.up(nodes=1)
        job.wait_for_step(FAULT_AT)
        job.docker("exec", job.head, "pkill", "-ABRT", "-f", "--", "-u /job/job.py")
        job.wait_for_end()
        assert 'File "/job/job.py", line' in job.printed()
        assert check_log(job.log()) == 2


def largest_difference(ours: list[float], theirs: list[float]) -> float:
    assert len(ours) == len(theirs) == STEPS, "steps are missing, or were counted twice"
    return max(abs(one - other) for one, other in zip(ours, theirs, strict=True))


def check_log(log: list[Line]) -> int:
    """Every step is there, in order; after a start it goes on from a step that was made. How often it started."""
    starts, last, writer = 0, 0, ""
    for line in log:
        if line.started_from is not None:
            starts, writer = starts + 1, line.writer
            assert line.started_from <= last or starts == 1, "a checkpoint of steps that nobody made"
            last = line.started_from
        elif line.writer == writer:  # a paused process may wake up and log its step when others have gone on long since
            assert line.step == last + 1, f"step {line.step} after {last}"
            last = line.step
    assert last == STEPS
    return starts


def nodes_of_starts(log: list[Line], began: float) -> set[int]:
    return {line.nodes for line in log if line.started_from is not None and line.time > began}


def oldest_start(log: list[Line], began: float) -> float:
    """The least step from which the job went on after `began`."""
    steps = [line.started_from for line in log if line.started_from is not None and line.time > began]
    return min(steps, default=math.inf)


def steps_made_twice(log: list[Line]) -> int:
    steps = [line.step for line in log if line.step is not None]
    return len(steps) - len(set(steps))


def standstill(log: list[Line], began: float) -> float:
    """The longest time without a step that had not been made before, from the fault on."""
    last, previous, longest = 0, began, 0.0
    for line in log:
        if line.step is not None and line.step > last:
            if line.time > began:
                longest = max(longest, line.time - previous)
                previous = line.time
            last = line.step
    return longest


def test_a_missing_step_or_a_start_from_nowhere_is_found() -> None:
    def log(*what: tuple[int | None, int | None]) -> list[Line]:
        return [Line(start, step, 1, 0.0) for start, step in what]

    whole = log((0, None), *[(None, step) for step in range(1, STEPS + 1)])
    assert check_log(whole) == 1
    with pytest.raises(AssertionError, match="step 31 after 29"):
        check_log([line for line in whole if line.step != 30])
    with pytest.raises(AssertionError, match="nobody made"):
        check_log([*whole[:10], *log((20, None)), *whole[21:]])


def test_a_start_from_before_the_checkpoint_is_found() -> None:
    def starts(*what: tuple[int, int]) -> list[Line]:
        return [Line(step, None, nodes, float(time)) for time, (step, nodes) in enumerate(what)]

    joined = starts((0, 3), (14, 2), (21, 3))
    assert oldest_start(joined, began=0.5) == 14
    assert nodes_of_starts(joined, began=0.5) == {2, 3}
    assert oldest_start(starts((0, 3), (14, 2), (0, 2)), began=0.5) == 0
    assert nodes_of_starts(starts((0, 3), (14, 2)), began=0.5) == {2}, "it did not join again"


def test_a_standstill_lasts_until_a_step_is_new() -> None:
    def at(time: float, step: int) -> Line:
        return Line(None, step, 1, time)

    log = [at(1.0, 1), at(2.0, 2), at(3.0, 3), Line(1, None, 1, 8.0), at(9.0, 2), at(10.0, 3), at(11.0, 4), at(12.0, 5)]
    assert standstill(log, began=2.5) == 8.0


def test_a_cluster_leaves_nothing_behind(image: str, tmp_path: Path) -> None:
    with cluster(image, tmp_path / "run") as job:
        job.up(nodes=1)
        kept: Cluster = job
    assert kept.docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={kept.project}") == ""
    assert kept.docker("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={kept.project}") == ""
