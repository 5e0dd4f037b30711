"""The notebooks are stored the way a person can read, diff and run them.

The .ipynb is the source: it opens in Lab as it is, with no tool and no second copy that can fall behind. What would
make its diffs unreadable, outputs and counters, is kept out by these checks. The Chinese edition is written from it
(scripts/chinese-notebooks), so here only its prose is looked at.
"""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import nbformat
import pytest
from solutions import solutions

FOLDER = Path(__file__).parents[2] / "notebooks"
START = FOLDER / "00_start_here.ipynb"  # the way in: no chapter, but stored like one
CHINESE_START = FOLDER / "zh" / START.name
CHAPTERS = [path for path in sorted(FOLDER.glob("[0-9][0-9]_*.ipynb")) if path.name != START.name]
CHINESE = [path for path in sorted((FOLDER / "zh").glob("[0-9][0-9]_*.ipynb")) if path.name != START.name]
SECTIONS = [
    "The question",
    "The idea",
    "In code",
    "A picture",
    "What the article says, and what is true",
    "Exercises",
    "Check",
]
CHINESE_SECTIONS = ["问题", "思路", "代码", "图示", "原文怎么说，实际如何", "练习", "检验"]

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
each_english = pytest.mark.parametrize("path", [START, *CHAPTERS], ids=lambda path: path.stem)
each_edition = pytest.mark.parametrize("path", CHAPTERS + CHINESE, ids=lambda path: f"{path.parent.name}-{path.stem}")


def cells(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def headings(path: Path) -> list[tuple[int, str]]:
    prose = "\n".join(cell.source for cell in cells(path, "markdown"))
    return [(len(marks), text) for marks, text in re.findall(r"^(#+) (.+)$", prose, flags=re.MULTILINE)]


def test_there_are_chapters_and_their_numbers_are_unique() -> None:
    numbers = [path.name[:2] for path in CHAPTERS]
    assert numbers
    assert len(set(numbers)) == len(numbers)


@each_edition
def test_a_notebook_is_valid_nbformat_4_5_for_python3(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"


@each_english
def test_no_outputs_are_stored(path: Path) -> None:
    for cell in cells(path, "code"):
        assert cell.outputs == [], cell.id
        assert cell.execution_count is None, cell.id


@each_english
def test_every_cell_has_a_name_of_its_own(path: Path) -> None:
    ids = [cell.id for cell in nbformat.read(path, as_version=4).cells]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", name) for name in ids), ids


@each_chapter
def test_the_last_code_cell_asserts_the_promise(path: Path) -> None:
    last = ast.parse(cells(path, "code")[-1].source)
    asserted = [ast.unparse(node.test) for node in ast.walk(last) if isinstance(node, ast.Assert)]
    assert any(".holds()" in test for test in asserted), asserted


@each_edition
def test_the_sections_stand_in_the_order_a_learner_reads(path: Path) -> None:
    found = headings(path)
    assert [level for level, _ in found].count(1) == 1
    assert found[0][0] == 1
    assert found[0][1].startswith(f"{int(path.name[:2])} · ")
    sections = CHINESE_SECTIONS if path in CHINESE else SECTIONS
    chapter = [next((name for name in sections if text.startswith(name)), text) for level, text in found if level == 2]
    assert chapter == sections
    assert all(after - before <= 1 for (before, _), (after, _) in itertools.pairwise(found))


@each_edition
def test_solutions_are_hidden_and_closed(path: Path) -> None:
    prose = "\n".join(cell.source for cell in cells(path, "markdown"))
    assert prose.count("<details>") == prose.count("</details>") >= 2
    summary = "参考答案" if path in CHINESE else "Solution"
    assert prose.count(f"<summary>{summary}</summary>") == prose.count("<details>")


@each_chapter
def test_a_solution_in_code_asserts_what_it_claims_in_both_editions(path: Path) -> None:
    solved = solutions(path)
    for code in solved:
        assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code))), code
    assert solutions(path.parent / "zh" / path.name) == solved


@each_chapter
def test_every_chapter_draws_a_picture(path: Path) -> None:
    assert any("plt.show()" in cell.source for cell in cells(path, "code"))


def dead_links(prose: str, folder: Path) -> list[str]:
    """Links and pictures that lead to no file. What is elsewhere on the network is not asked."""
    shown = re.sub(r"^```.*?^```$", "", prose, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s#]+)", shown) + re.findall(
        r"<(?:img|a)\b[^>]*?(?:src|href)=[\"']([^\"'#]+)", shown
    )
    return [target for target in targets if not re.match(r"[a-z]+:", target) and not (folder / target).is_file()]


@pytest.mark.parametrize(
    "path", [START, CHINESE_START, *CHAPTERS, *CHINESE], ids=lambda path: str(path.parent.name + path.stem)
)
def test_links_and_pictures_lead_somewhere(path: Path) -> None:
    prose = "\n".join(cell.source for cell in cells(path, "markdown"))
    assert dead_links(prose, path.parent) == []


def test_a_link_or_a_picture_that_leads_nowhere_is_found() -> None:
    prose = (
        "[a](gone.ipynb) ![b](gone.png \"title\") <img alt='c' src='gone.svg'> [d](zh) [e](https://example.org/x)\n"
        "[f](01_house_price.ipynb#the-idea) [g](#here)\n```python\nx[0](later)\n```\n"
    )
    assert dead_links(prose, FOLDER) == ["gone.ipynb", "gone.png", "zh", "gone.svg"]


@pytest.mark.parametrize("path", [START, CHINESE_START], ids=lambda path: path.parent.name)
def test_the_way_in_has_one_title_and_sections_below_it(path: Path) -> None:
    assert [level for level, _ in headings(path)] == [1, 2, 2, 2, 2]


@pytest.mark.parametrize(
    "page", [START, FOLDER.parent / "README.md", FOLDER.parent / "README.zh-CN.md"], ids=lambda page: page.name
)
def test_a_chinese_reader_finds_the_chinese_edition(page: Path) -> None:
    prose = "\n".join(cell.source for cell in cells(page, "markdown")) if page == START else page.read_text()
    assert f"]({CHINESE_START.relative_to(page.parent)})" in prose


def test_the_way_in_leads_to_the_first_chapter_and_asserts() -> None:
    assert f"]({CHAPTERS[0].name})" in cells(START, "markdown")[-1].source
    assert "assert " in cells(START, "code")[-1].source


@each_chapter
def test_code_cells_are_python(path: Path) -> None:
    for cell in cells(path, "code"):
        ast.parse(cell.source)
