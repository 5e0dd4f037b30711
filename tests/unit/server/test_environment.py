from __future__ import annotations

import getpass
import os
import pwd
from collections.abc import Callable

import pytest

from workstation import doctor
from workstation.server.environment import THREADS, prepared

InChild = Callable[[Callable[[], None], int], str]


def test_thread_counts_are_what_the_container_may_use() -> None:
    assert {prepared({})[name] for name in THREADS} == {str(doctor.usable_cpus())}


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
