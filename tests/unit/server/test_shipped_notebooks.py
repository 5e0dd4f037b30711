from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from workstation.server.notebooks import lay_out

NAME = "01_house_price.ipynb"
NEW = "01_house_price.new.ipynb"


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    directory = tmp_path / "shipped"
    (directory / "zh").mkdir(parents=True)
    (directory / NAME).write_text("version 1")
    (directory / "zh" / NAME).write_text("版本 1")
    (directory / "plot.png").write_bytes(b"\x89PNG")
    return directory


def manifest(home: Path) -> Path:
    return home / ".config" / "workstation" / "notebooks.json"


def contents(home: Path) -> dict[str, bytes]:
    notebooks = home / "notebooks"
    files = (path for path in notebooks.rglob("*") if path.is_file())
    return {path.relative_to(notebooks).as_posix(): path.read_bytes() for path in files}


def test_what_is_missing_is_copied_folders_and_images_too(home: Path, shipped: Path) -> None:
    lay_out(home, shipped)
    assert contents(home) == {
        NAME: b"version 1",
        f"zh/{NAME}": "版本 1".encode(),
        "plot.png": b"\x89PNG",
    }


def test_a_second_start_writes_nothing(home: Path, shipped: Path) -> None:
    lay_out(home, shipped)
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    lay_out(home, shipped)
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before


def test_a_deleted_notebook_comes_back(home: Path, shipped: Path) -> None:
    lay_out(home, shipped)
    (home / "notebooks" / NAME).unlink()
    lay_out(home, shipped)
    assert contents(home)[NAME] == b"version 1"


def test_an_unedited_notebook_is_brought_up_to_date_in_place(home: Path, shipped: Path) -> None:
    lay_out(home, shipped)
    (shipped / NAME).write_text("version 2")
    lay_out(home, shipped)
    assert contents(home)[NAME] == b"version 2"
    assert NEW not in contents(home)


def test_an_edited_notebook_is_never_overwritten_and_the_newer_one_lies_beside_it(home: Path, shipped: Path) -> None:
    lay_out(home, shipped)
    (home / "notebooks" / NAME).write_text("mine")
    (shipped / NAME).write_text("version 2")
    lay_out(home, shipped)
    assert contents(home)[NAME] == b"mine"
    assert contents(home)[NEW] == b"version 2"


def test_an_edited_notebook_has_nothing_laid_beside_it_while_none_is_newer(home: Path, shipped: Path) -> None:
    lay_out(home, shipped)
    (home / "notebooks" / NAME).write_text("mine")
    lay_out(home, shipped)
    assert NEW not in contents(home)


def test_a_newer_one_that_was_read_and_deleted_does_not_come_back(home: Path, shipped: Path) -> None:
    lay_out(home, shipped)
    (home / "notebooks" / NAME).write_text("mine")
    (shipped / NAME).write_text("version 2")
    lay_out(home, shipped)
    (home / "notebooks" / NEW).unlink()
    lay_out(home, shipped)
    assert NEW not in contents(home)


def test_an_unedited_newer_one_gives_way_to_a_still_newer_one(home: Path, shipped: Path) -> None:
    lay_out(home, shipped)
    (home / "notebooks" / NAME).write_text("mine")
    for version in ("version 2", "version 3"):
        (shipped / NAME).write_text(version)
        lay_out(home, shipped)
    assert contents(home) == contents(home) | {NAME: b"mine", NEW: b"version 3"}
    assert not [name for name in contents(home) if ".new-2" in name]


def test_an_edited_newer_one_is_kept_and_the_next_lies_beside_both(home: Path, shipped: Path) -> None:
    lay_out(home, shipped)
    (home / "notebooks" / NAME).write_text("mine")
    (shipped / NAME).write_text("version 2")
    lay_out(home, shipped)
    (home / "notebooks" / NEW).write_text("mine too")
    (shipped / NAME).write_text("version 3")
    lay_out(home, shipped)
    assert contents(home) == contents(home) | {
        NAME: b"mine",
        NEW: b"mine too",
        "01_house_price.new-2.ipynb": b"version 3",
    }


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"01_house_price.ipynb": 7}', b"\xff\xfe"])
def test_a_lost_or_corrupt_manifest_loses_nothing(home: Path, shipped: Path, content: bytes | None) -> None:
    lay_out(home, shipped)
    (home / "notebooks" / NAME).write_text("mine")
    (shipped / NAME).write_text("version 2")
    if content is None:
        manifest(home).unlink()
    else:
        manifest(home).write_bytes(content)
    lay_out(home, shipped)
    assert contents(home)[NAME] == b"mine"
    assert contents(home)[NEW] == b"version 2"


def test_without_a_manifest_even_an_older_shipped_one_counts_as_edited(home: Path, shipped: Path) -> None:
    lay_out(home, shipped)
    manifest(home).unlink()
    (shipped / NAME).write_text("version 2")
    lay_out(home, shipped)
    assert contents(home)[NAME] == b"version 1"
    assert contents(home)[NEW] == b"version 2"


@pytest.mark.parametrize("target", ["elsewhere.ipynb", "nowhere.ipynb"])
def test_a_link_in_a_notebooks_place_is_kept(home: Path, shipped: Path, target: str) -> None:
    (home / "notebooks").mkdir()
    (home / "elsewhere.ipynb").write_text("version 0")
    (home / "notebooks" / NAME).symlink_to(home / target)
    lay_out(home, shipped)
    assert (home / "notebooks" / NAME).is_symlink()
    assert (home / "elsewhere.ipynb").read_text() == "version 0"


def test_a_folder_of_the_persons_with_a_notebooks_name_is_kept(home: Path, shipped: Path) -> None:
    (home / "notebooks" / NAME / "data").mkdir(parents=True)
    lay_out(home, shipped)
    assert (home / "notebooks" / NAME / "data").is_dir()


def test_a_full_disk_is_one_clear_line_and_leaves_nothing_half_written(
    anyones: Path, in_child: Callable[[Callable[[], None]], str]
) -> None:
    shipped, home = anyones / "shipped", anyones / "home"
    shipped.mkdir()
    (shipped / NAME).write_bytes(b"x" * 10_000)
    home.mkdir()
    home.chmod(0o777)

    def lay_out_on_a_small_disk() -> None:
        os.umask(0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        lay_out(home, shipped)

    assert f"HomeError: {home}/notebooks/{NAME} cannot be written: File too large" in in_child(lay_out_on_a_small_disk)
    assert contents(home) == {}


def test_an_upgrade_that_fails_leaves_the_older_one_whole(
    anyones: Path, in_child: Callable[[Callable[[], None]], str]
) -> None:
    shipped, home = anyones / "shipped", anyones / "home"
    shipped.mkdir()
    (shipped / NAME).write_text("version 1")
    home.mkdir()
    lay_out(home, shipped)
    for path in [home, *home.rglob("*")]:
        path.chmod(0o777)
    (shipped / NAME).write_bytes(b"x" * 10_000)

    def lay_out_on_a_small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        lay_out(home, shipped)

    assert "cannot be written" in in_child(lay_out_on_a_small_disk)
    assert contents(home) == {NAME: b"version 1"}


def test_an_image_without_notebooks_is_no_failure(home: Path, tmp_path: Path) -> None:
    lay_out(home, tmp_path / "none")
    assert list(home.iterdir()) == []
