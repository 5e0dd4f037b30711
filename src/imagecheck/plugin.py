"""`pytest --image IMAGE`: every check as a test of its own, beside whatever else pytest collects.

A check that could not be judged errors, one that does not apply skips; --imagecheck-require turns skips into failures.
A test of your own may ask for the fixture `bench` and judge its documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from imagecheck.bench import LiveBench
from imagecheck.engine import reaper
from imagecheck.engine.connection import connect
from imagecheck.engine.image import find_image
from imagecheck.errors import ImagecheckError
from imagecheck.outcome import Outcome, Result
from imagecheck.registry import Check
from imagecheck.settings import Settings
from imagecheck.suite import is_required, judge_check, open_bench, selected

BENCH = pytest.StashKey[LiveBench]()
STACK = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("imagecheck")
    group.addoption("--image", metavar="IMAGE", help="judge this PyTorch image: its checks become tests")
    group.addoption("--imagecheck-only", default="", metavar="NAME,…", help="these checks or groups alone")
    group.addoption("--imagecheck-require", default="", metavar="NAME,…", help="a skip of these is a failure")


def settings_of(config: pytest.Config) -> Settings:
    def names(option: str) -> tuple[str, ...]:
        return tuple(name for name in config.getoption(option).split(",") if name)

    return Settings(only=names("--imagecheck-only"), require=names("--imagecheck-require"))


def open_for(config: pytest.Config) -> LiveBench:
    """The session's bench, made when it is first needed and closed with the session."""
    if BENCH not in config.stash:
        stack = config.stash[STACK] = ExitStack()
        settings = settings_of(config)
        client = connect(settings.engine)
        reaper.reap(client)
        image = find_image(client, config.getoption("--image"), pull=settings.pull)
        config.stash[BENCH] = stack.enter_context(open_bench(client, image, settings))
    return config.stash[BENCH]


def pytest_unconfigure(config: pytest.Config) -> None:
    if STACK in config.stash:
        config.stash[STACK].close()


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config) -> LiveBench:
    """The image given with --image, ready to be probed."""
    if not pytestconfig.getoption("--image"):
        pytest.skip("no --image was given")
    return open_for(pytestconfig)


class CheckFailed(Exception):  # noqa: N818 - it is a finding
    """Carries a failed or undecided result to its report."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.finding.summary)
        self.result = result


class CheckItem(pytest.Item):
    """One check of the image as a test."""

    def __init__(self, *, check: Check, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check = check

    def runtest(self) -> None:
        required = is_required(self.check, settings_of(self.config))
        result = judge_check(self.check, open_for(self.config), required=required)
        self.user_properties.append(("summary", result.finding.summary))
        if result.outcome is Outcome.SKIP:
            pytest.skip(result.finding.summary)
        if result.outcome is not Outcome.PASS:
            raise CheckFailed(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        error = excinfo.value
        if not isinstance(error, CheckFailed):
            return super().repr_failure(excinfo, style)
        log = str(error.result.finding.evidence.get("log", ""))
        lines = [self.check.promise, f"{error.result.outcome}: {error.result.finding.summary}"]
        lines += [f"→ {error.result.remedy}"] if error.result.remedy else []
        return "\n".join([*lines, log])

    def reportinfo(self) -> tuple[str, None, str]:
        return "imagecheck", None, self.check.id


class ImageCollector(pytest.Collector):
    """All selected checks of the image."""

    def collect(self) -> Iterator[CheckItem]:
        for check in selected(settings_of(self.config)):
            yield CheckItem.from_parent(self, name=check.id, check=check)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    reference = config.getoption("--image")
    if not reference:
        return
    try:
        items.extend(ImageCollector.from_parent(session, name=f"imagecheck[{reference}]", nodeid=reference).collect())
    except ImagecheckError as error:
        raise pytest.UsageError(str(error)) from error
