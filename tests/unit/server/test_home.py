from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from workstation.errors import HomeError
from workstation.server.home import check


def test_a_home_of_ones_own_is_fine(home: Path) -> None:
    check(home)


def test_a_home_that_is_not_there_is_named_with_the_option_that_mends_it(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="-v workstation-home:"):
        check(tmp_path / "nowhere")


@pytest.mark.parametrize("inside", ["", ".jupyter", ".local/share/jupyter", ".config/workstation"])
def test_a_directory_of_another_user_is_named_with_its_owner_and_the_option_that_mends_it(
    anyones: Path, in_child: Callable[[Callable[[], None]], str], inside: str
) -> None:
    directory = anyones / inside
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o555)
    owner = f"{os.getuid()}:{directory.stat().st_gid}"
    answer = in_child(lambda: check(anyones))
    assert f"HomeError: {directory} belongs to {owner} (mode 555) and cannot be written by" in answer
    assert f"--user {owner}" in answer


def test_a_folder_that_may_not_even_be_entered_is_named_as_well(
    anyones: Path, in_child: Callable[[Callable[[], None]], str]
) -> None:
    closed = anyones / ".config"
    closed.mkdir(mode=0)
    try:
        assert f"HomeError: {closed} belongs to" in in_child(lambda: check(anyones))
    finally:
        closed.chmod(0o700)


def test_a_home_that_only_selinux_keeps_is_not_given_to_another_user(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(HomeError, match=f"-v DIRECTORY:{home}:Z") as caught:
        check(home)
    assert "--user" not in str(caught.value)


def test_a_home_of_a_user_that_the_container_does_not_know_is_mended_on_the_host(
    anyones: Path, in_child: Callable[[Callable[[], None], int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workstation.server.home.UNMAPPED", os.getuid())
    anyones.chmod(0o555)
    answer = in_child(lambda: check(anyones), 54321)
    assert "podman unshare chown" in answer
    assert "--user" not in answer
