"""Judging one image: the selected checks, one after the other, over one bench."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import docker
from docker.errors import DockerException

from imagecheck.bench import Bench, Blocked, LiveBench
from imagecheck.engine import gpus, reaper
from imagecheck.engine.archive import loaded
from imagecheck.engine.connection import connect
from imagecheck.engine.container import ProbeError
from imagecheck.engine.image import Image, find_image
from imagecheck.engine.lab import Lab
from imagecheck.errors import UsageError
from imagecheck.outcome import Finding, Outcome, Result, failed, skipped
from imagecheck.registry import Check, every_check, select, verify_names
from imagecheck.scorecard import Scorecard
from imagecheck.settings import Gpu, Settings

Progress = Callable[[Check, Result | None], None]  # called with None when a check begins, with its result when it ends


def judge_check(check: Check, bench: Bench, *, required: bool) -> Result:
    """The result of one check. What goes wrong in judging is an error of this check, not the end of the run."""
    started = time.monotonic()
    try:
        finding = check.judge(bench)
    except Blocked as reason:
        finding = skipped(str(reason))
    except ProbeError as error:
        finding = Finding(Outcome.ERROR, error.what, error.remedy, {"log": error.log})
    except DockerException as error:
        finding = Finding(Outcome.ERROR, f"the engine refused: {error}", "see the engine's own log; try again")
    except Exception as error:  # a bug in one check must not cost the others
        finding = Finding(
            Outcome.ERROR, f"{type(error).__name__}: {error}", "please report this as a bug of imagecheck"
        )
    return Result(check.id, check.promise, finding, time.monotonic() - started, required)


def is_required(check: Check, settings: Settings) -> bool:
    names = (*settings.require, *(("gpu",) if settings.gpu is Gpu.REQUIRE else ()))
    return any(map(check.answers_to, names))


def never_ran(checks: tuple[Check, ...], settings: Settings) -> Iterator[Result]:
    """A failure for each required check that the selection left out: what never ran has not passed."""
    for check in every_check():
        if is_required(check, settings) and check not in checks:
            finding = failed("it was required and never ran", remedy="drop it from --require or from --deselect")
            yield Result(check.id, check.promise, finding, 0.0, required=True)


def selected(settings: Settings) -> tuple[Check, ...]:
    """The checks that `settings` ask for. Raises UsageError for a name nothing answers to."""
    checks = every_check()
    verify_names(checks, settings.require)
    chosen = select(checks, only=settings.only, deselect=settings.deselect)
    if not chosen:
        raise UsageError("the selection leaves no check", remedy="See `imagecheck list`")
    return chosen


def wanted_gpus(client: docker.DockerClient, settings: Settings) -> int:
    """How many GPUs the image must see; where that is none, it is given none."""
    if settings.gpu is Gpu.OFF:
        return 0
    return gpus.count(client) if settings.gpus is None else settings.gpus


@contextmanager
def open_bench(client: docker.DockerClient, image: Image, settings: Settings) -> Iterator[LiveBench]:
    """A bench for `image`; everything started on it is removed at the end, whatever ends it."""
    wanted = wanted_gpus(client, settings)
    with Lab(client, image, shm_size=settings.shm_size, gpus=wanted > 0, keep=settings.keep) as lab:
        bench = LiveBench(lab, settings, wanted)
        try:
            yield bench
        finally:
            bench.close()


def judge(reference: str, settings: Settings, progress: Progress = lambda _check, _result: None) -> Scorecard:
    """Judge the image called `reference`.

    Raises:
        ImagecheckError: the selection, the engine or the image cannot be had.
    """
    checks = selected(settings)
    client = connect(settings.engine)
    reaper.reap(client)
    with available(client, reference, pull=settings.pull) as image:
        return judge_found(client, image, checks, settings, progress)


@contextmanager
def available(client: docker.DockerClient, reference: str, *, pull: bool) -> Iterator[Image]:
    """The image called `reference`, or in the tar of that path. Raises ImagecheckError."""
    path = Path(reference)
    if path.is_file():
        with loaded(client, path) as identity:
            yield replace(find_image(client, identity, pull=False), reference=path.name)
    else:
        yield find_image(client, reference, pull=pull)


def judge_found(
    client: docker.DockerClient, image: Image, checks: tuple[Check, ...], settings: Settings, progress: Progress
) -> Scorecard:
    """Judge an image that the engine holds."""
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    results: list[Result] = []
    with open_bench(client, image, settings) as bench:
        if any(check.group == "contents" for check in checks):
            bench.read_ahead()
        for check in checks:
            progress(check, None)
            results.append(judge_check(check, bench, required=is_required(check, settings)))
            progress(check, results[-1])
        facts, curves = bench.facts(), bench.curves()
    results.extend(never_ran(checks, settings))
    return Scorecard(image, tuple(results), time.monotonic() - clock, started, facts, curves, bench.kept)
