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
