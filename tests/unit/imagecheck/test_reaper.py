"""What a killed run left is cleared up; what a living one uses, or was kept on purpose, is not."""

from __future__ import annotations

import os
import subprocess
import sys

from imagecheck.engine import reaper

HOST, NOW = "builder", 1_000_000.0


def labelled(process: str, **more: str) -> dict[str, str]:
    return {reaper.RUN: "r", reaper.HOST: HOST, reaper.PROCESS: process, reaper.EXPIRES: str(NOW + 60)} | more


def orphan(labels: dict[str, str]) -> bool:
    return reaper.is_orphan(labels, host=HOST, now=NOW)


def test_a_run_that_goes_on_is_left_alone() -> None:
    assert not orphan(labelled(reaper.process_identity(os.getpid())))


def test_a_run_whose_process_has_gone_is_an_orphan() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert orphan(labelled(f"{gone.pid}:1"))


def test_a_pid_that_was_given_to_another_process_does_not_protect_it() -> None:
    assert orphan(labelled(f"{os.getpid()}:1"))


def test_another_machines_run_is_an_orphan_only_after_its_time() -> None:
    other = labelled("1:1") | {reaper.HOST: "elsewhere"}
    assert not orphan(other)
    assert orphan(other | {reaper.EXPIRES: str(NOW - 1)})


def test_what_was_kept_on_purpose_stays() -> None:
    assert not orphan(labelled("1:1", **{reaper.KEPT: "yes"}))
