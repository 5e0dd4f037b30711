"""docs/article-map.md forgets no section, no claim, no chapter, and what it names says what it is named for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from workstation.examples.catalog import CHAPTERS, Chapter

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "article-map.md"
TEXT = PAGE.read_text(encoding="utf-8")
NOTEBOOKS = {f"../notebooks/{chapter.notebook}" for chapter in CHAPTERS}

# How many subsections each numbered section of the two articles has, counted in the articles themselves.
SUBSECTIONS = {
    "A1": {1: 2, 2: 4, 3: 4, 4: 3, 5: 4, 6: 4, 7: 3, 8: 4, 9: 4},
    "A2": {1: 2, 2: 8, 3: 4, 4: 4, 5: 7, 6: 4, 7: 3, 8: 4, 9: 5},
}
DEEPER = {"A2 §5.1": 4, "A2 §5.2": 3}
CLAIMS = 64
LARGE_MODELS = 30  # the first chapter about them: a part of its own, which the others may grow up to
OPINION = "opinion, nothing to run"
LONGEST = 150  # lines of a chapter's module, so that it is read in one go


def sections() -> list[str]:
    names = []
    for article, counts in SUBSECTIONS.items():
        for section, parts in counts.items():
            names += [f"{article} §{section}", *(f"{article} §{section}.{part}" for part in range(1, parts + 1))]
    return names + [f"{name}.{part}" for name, parts in DEEPER.items() for part in range(1, parts + 1)]


def rows(first_cell: str) -> list[str]:
    return re.findall(rf"^\| {re.escape(first_cell)} \|.*\| (.+) \|$", TEXT, flags=re.MULTILINE)


def links(cell: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", cell)


def headings() -> dict[str, str]:
    """Each heading of the page, as a link names it, and what stands below it."""
    _, *parts = re.split(r"^#+ (.+)$", TEXT, flags=re.MULTILINE)
    names = (re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in parts[::2])
    return {f"#{name}": below for name, below in zip(names, parts[1::2], strict=True)}


def is_carried(cell: str) -> bool:
    """A chapter's notebook or a heading of this page says what is true; a folder or any other file alone does not."""
    said = [link for link in links(cell) if link in NOTEBOOKS or link in headings()]
    return cell == OPINION or (bool(said) and not dead(cell))


def dead(cell: str) -> list[str]:
    """Links to no file and no heading. A folder is no answer: who follows it must search."""
    return [link for link in links(cell) if link not in headings() and not (PAGE.parent / link).is_file()]


def claims() -> dict[int, str]:
    found = re.findall(r"^\| (\d+) \| .*\| (.+) \|$", headings()["#claims-that-were-examined"], flags=re.MULTILINE)
    assert [int(number) for number, _ in found] == list(range(1, CLAIMS + 1))
    return {int(number): cell for number, cell in found}


def truth(chapter: Chapter) -> tuple[list[str], list[list[int]]]:
    """The rows of a notebook's table of what is true, and for each the claims that it answers."""
    notebook = json.loads((ROOT / "notebooks" / chapter.notebook).read_text(encoding="utf-8"))
    (cell,) = (cell for cell in notebook["cells"] if cell["id"] == "truth")
    lines = [line.rstrip() for line in cell["source"] if line.startswith("|")]
    return lines[2:], cell["metadata"]["claims"]


def named_below(heading: str) -> Iterator[int]:
    """The claims that the first column of a table on this page names."""
    for cell in re.findall(r"^\| ([\d, ]+) \|", headings()[heading], flags=re.MULTILINE):
        yield from (int(number) for number in cell.split(","))


@pytest.mark.parametrize("section", sections())
def test_every_section_of_the_article_says_where_it_is(section: str) -> None:
    assert len(rows(section)) == 1
    cell = rows(section)[0]
    assert is_carried(cell) or cell.startswith("opinion"), cell
    assert dead(cell) == []


def test_every_claim_says_where_it_is() -> None:
    assert {number: cell for number, cell in claims().items() if not is_carried(cell)} == {}


@pytest.mark.parametrize(
    "cell",
    [
        "[the licence](../LICENSE)",
        "[its tests](../tests/image)",
        "[the image](../Dockerfile), [its tests](../tests/image)",
        "[tensors](../notebooks/02_tensors.ipynb), [its tests](../tests/image)",
        "[below](#no-such-heading)",
        "opinion",
        "",
    ],
)
def test_what_carries_nothing_is_refused(cell: str) -> None:
    assert not is_carried(cell)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_every_row_of_a_notebooks_table_says_which_claims_it_answers(chapter: Chapter) -> None:
    table, answers = truth(chapter)
    assert len(answers) == len(table)
    assert all(1 <= number <= CLAIMS for row in answers for number in row)


def test_each_claim_is_answered_where_the_map_says_and_nowhere_else() -> None:
    """By its number: in the notebook's `truth` cell (metadata, a list a row), or in the table below the heading."""
    answered: dict[int, set[str]] = {number: set() for number in range(1, CLAIMS + 1)}
    for chapter in CHAPTERS:
        for number in (number for row in truth(chapter)[1] for number in row):
            answered[number].add(f"../notebooks/{chapter.notebook}")
    for heading in ("#setting-up-corrected", "#reading-list-corrected"):
        for number in named_below(heading):
            answered[number].add(heading)
    known = NOTEBOOKS | {*headings()}
    mapped = {number: {link for link in links(cell) if link in known} for number, cell in claims().items()}
    assert {number: where for number, where in answered.items() if where != mapped[number]} == {}


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


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_a_chapters_module_is_short_enough_to_be_read_in_one_go(chapter: Chapter) -> None:
    lines = (ROOT / f"src/workstation/examples/{chapter.name}.py").read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST, "what is a concern of its own moves to a module beside it, as distillation.py did"


def test_every_notebook_is_a_chapter() -> None:
    known = {chapter.notebook for chapter in CHAPTERS}
    assert {path.name for path in (ROOT / "notebooks").glob("*.ipynb")} == known | {"00_start_here.ipynb"}


def test_chapters_are_numbered_in_reading_order_and_none_is_missing() -> None:
    numbers = [chapter.number for chapter in CHAPTERS]
    assert numbers == sorted(set(numbers))
    before = [number for number in numbers if number < LARGE_MODELS]
    assert before == list(range(1, len(before) + 1))


def test_every_public_set_has_its_row() -> None:
    named = {(chapter.name, name) for chapter in CHAPTERS for name in chapter.public}
    below = headings()["#with-a-network-public-data"]
    assert set(re.findall(r"^\| (\w+) \| [^|]+ \| `([a-z][\w-]*)` \|", below, flags=re.MULTILINE)) == named


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_what_stands_in_for_public_data_has_its_row(chapter: Chapter) -> None:
    module = (ROOT / f"src/workstation/examples/{chapter.name}.py").read_text(encoding="utf-8")
    if re.search(r"in place of [A-Z]", module):
        tables = headings()["#with-a-network-public-data"] + headings()["#stand-ins"]
        assert re.search(rf"^\| {chapter.name} \|", tables, flags=re.MULTILINE)


def test_every_link_leads_to_a_file() -> None:
    found = links(TEXT)
    assert found
    assert [link for link in found if not re.match(r"https?:", link) and dead(f"]({link})")] == []
