from __future__ import annotations

import getpass
import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from workstation import doctor
from workstation.server import environment
from workstation.server.environment import THREADS, prepared

InChild = Callable[[Callable[[], None], int], str]


def test_a_quota_which_no_library_reads_is_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "usable_cpus", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert {prepared({})[name] for name in THREADS} == {"2"}


def test_without_a_quota_torchrun_may_still_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "usable_cpus", lambda: len(os.sched_getaffinity(0)))
    assert not {*THREADS} & {*prepared({})}


def test_one_choice_of_threads_is_enough_for_every_library() -> None:
    assert {prepared({"OMP_NUM_THREADS": "3"})[name] for name in THREADS} == {"3"}
    nested = prepared({"OMP_NUM_THREADS": "4,2", "MKL_NUM_THREADS": "1"})
    assert [nested[name] for name in THREADS] == ["4,2", "1", "4", "4"]


def test_a_persons_own_choice_stays() -> None:
    made = prepared({"OMP_NUM_THREADS": "3", "HOME": "/mnt/ada", "USER": "ada"})
    assert (made["OMP_NUM_THREADS"], made["HOME"], made["USER"]) == ("3", "/mnt/ada", "ada")


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "/"}])
def test_a_user_without_a_home_gets_the_images(environ: dict[str, str]) -> None:
    assert prepared(environ)["HOME"] == "/home/workstation"


def test_a_known_user_has_their_own_name() -> None:
    made = prepared({})
    assert made["USER"] == made["LOGNAME"] == pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without a passwd entry")
def test_a_user_without_a_passwd_entry_has_a_name_all_the_same(in_child: InChild) -> None:
    def say_name() -> None:
        os.environ.clear()
        os.environ.update(prepared({}))
        raise RuntimeError(getpass.getuser())

    assert doctor.usable_cpus()  # imported here: the child may not be allowed to read the interpreter's own files
    assert in_child(say_name, 54321) == "RuntimeError: workstation"


def test_caches_move_to_scratch_where_the_cache_volume_cannot_be_written(tmp_path: Path) -> None:
    given = {"XDG_CACHE_HOME": "/nowhere", "TRITON_CACHE_DIR": "/nowhere/triton", "HF_HOME": "/models"}
    moved = environment._caches(given, str(tmp_path))
    assert set(moved) == {"XDG_CACHE_HOME", "TRITON_CACHE_DIR"}, "what a person put elsewhere stays there"
    assert moved["TRITON_CACHE_DIR"] == f"{moved['XDG_CACHE_HOME']}/triton"
    assert moved["XDG_CACHE_HOME"].startswith(str(tmp_path))


def test_caches_stay_where_they_can_be_written(tmp_path: Path) -> None:
    assert environment._caches({"XDG_CACHE_HOME": str(tmp_path)}) == {}
