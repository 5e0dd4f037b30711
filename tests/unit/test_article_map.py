"""docs/article-map.md forgets no section, no claim, no chapter, and names nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workstation.examples.catalog import CHAPTERS, Chapter

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "article-map.md"
TEXT = PAGE.read_text(encoding="utf-8")

# How many subsections each numbered section of the two articles has, counted in the articles themselves.
SUBSECTIONS = {
    "A1": {1: 2, 2: 4, 3: 4, 4: 3, 5: 4, 6: 4, 7: 3, 8: 4, 9: 4},
    "A2": {1: 2, 2: 8, 3: 4, 4: 4, 5: 7, 6: 4, 7: 3, 8: 4, 9: 5},
}
DEEPER = {"A2 §5.1": 4, "A2 §5.2": 3}
CLAIMS = 64
LARGE_MODELS = 30  # the first chapter about them: a part of its own, which the others may grow up to


def sections() -> list[str]:
    names = []
    for article, counts in SUBSECTIONS.items():
        for section, parts in counts.items():
            names += [f"{article} §{section}", *(f"{article} §{section}.{part}" for part in range(1, parts + 1))]
    return names + [f"{name}.{part}" for name, parts in DEEPER.items() for part in range(1, parts + 1)]


def rows(first_cell: str) -> list[str]:
    return re.findall(rf"^\| {re.escape(first_cell)} \|.*\| (.+) \|$", TEXT, flags=re.MULTILINE)


def is_carried(cell: str) -> bool:
    return "](" in cell or cell == "opinion, nothing to run"


@pytest.mark.parametrize("section", sections())
def test_every_section_of_the_article_says_where_it_is(section: str) -> None:
    assert len(rows(section)) == 1
    assert is_carried(rows(section)[0])


def test_every_claim_says_where_it_is() -> None:
    listed = TEXT.split("## Claims that were examined")[1].split("## Reading list")[0]
    found = re.findall(r"^\| (\d+) \|.*\| (.+) \|$", listed, flags=re.MULTILINE)
    assert [int(number) for number, _ in found] == list(range(1, CLAIMS + 1))
    assert all(is_carried(cell) for _, cell in found)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_every_chapter_has_a_script_a_notebook_a_test_and_a_row(chapter: Chapter) -> None:
    parts = [
        f"src/workstation/examples/{chapter.name}.py",
        f"notebooks/{chapter.notebook}",
        f"tests/torch/test_{chapter.name}.py",
    ]
    for part in parts:
        assert (ROOT / part).is_file(), part
        assert f"](../{part})" in TEXT, part


def test_every_notebook_is_a_chapter() -> None:
    known = {chapter.notebook for chapter in CHAPTERS}
    assert {path.name for path in (ROOT / "notebooks").glob("*.ipynb")} == known | {"00_start_here.ipynb"}


def test_chapters_are_numbered_in_reading_order_and_none_is_missing() -> None:
    numbers = [chapter.number for chapter in CHAPTERS]
    assert numbers == sorted(set(numbers))
    before = [number for number in numbers if number < LARGE_MODELS]
    assert before == list(range(1, len(before) + 1))


def test_every_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\((\.\./[^)#]+)\)", TEXT)
    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
