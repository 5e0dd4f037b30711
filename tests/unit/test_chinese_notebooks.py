"""The Chinese notebooks run the English code, and an English cell cannot change without somebody noticing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "chinese-notebooks"
ENGLISH = ROOT / "notebooks"
CHAPTERS = sorted((ENGLISH / "zh").glob("*.ipynb"))

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
DISPLAYED = re.compile(r"\$\$.+?\$\$", re.DOTALL)
INLINE = re.compile(r"\$[^$\n]+\$")
CODE = re.compile(r"`[^`\n]+`")
WORDS = re.compile(r"\\text\{[^}]*\}")  # in a formula, to be translated

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["cells"]
    return found


def pairs(path: Path) -> Iterator[tuple[str, str, str]]:
    """Name, English text and Chinese text of each Markdown cell."""
    for english, chinese in zip(cells(ENGLISH / path.name), cells(path), strict=True):
        if english["cell_type"] == "markdown":
            yield english["id"], "".join(english["source"]), "".join(chinese["source"])


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=60)


def test_every_translation_is_whole_and_current() -> None:
    ran = run(SCRIPT, "--check")
    assert ran.returncode == 0, ran.stderr


def test_there_are_chinese_chapters() -> None:
    assert CHAPTERS


@each_chapter
def test_only_the_prose_differs(path: Path) -> None:
    english, chinese = (json.loads(file.read_text()) for file in (ENGLISH / path.name, path))
    assert [cell["id"] for cell in chinese["cells"]] == [cell["id"] for cell in english["cells"]]
    for notebook in (english, chinese):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                del cell["source"]
    assert chinese == english


@each_chapter
def test_the_prose_is_chinese(path: Path) -> None:
    for name, _, chinese in pairs(path):
        assert re.search(r"[\u4e00-\u9fff]", chinese), name


@each_chapter
def test_formulas_and_code_say_the_same(path: Path) -> None:
    for name, english, chinese in pairs(path):
        assert FENCE.findall(chinese) == FENCE.findall(english), name
        ours, theirs = (WORDS.sub("", FENCE.sub("", text)) for text in (chinese, english))
        assert DISPLAYED.findall(ours) == DISPLAYED.findall(theirs), name
        ours, theirs = (DISPLAYED.sub("", text) for text in (ours, theirs))
        assert Counter(INLINE.findall(ours)) == Counter(INLINE.findall(theirs)), name
        assert set(CODE.findall(ours)) == set(CODE.findall(theirs)), name


@each_chapter
def test_tables_have_the_same_rows(path: Path) -> None:
    for name, english, chinese in pairs(path):
        rows = [[line.count("|") for line in text.splitlines() if line.startswith("|")] for text in (english, chinese)]
        assert rows[0] == rows[1], name


def bold_left_as_stars(line: str) -> list[str]:
    """CommonMark shows `**词。**词` with its stars: between punctuation and a letter they do not close."""
    parts = line.split("**")
    if len(parts) % 2 == 0:
        return [line]
    return [
        words
        for before, words, after in zip(parts[::2], parts[1::2], parts[2::2], strict=False)
        if re.search(r"\w\*\*[^\w\s]", f"{before[-1:]}**{words[:1]}")
        or re.search(r"[^\w\s]\*\*\w", f"{words[-1:]}**{after[:1]}")
    ]


@pytest.mark.parametrize("line", ["**词。**词", "词**“词”**", "**词", "一**词**二**“词”**"])
def test_bold_that_commonmark_would_not_set_is_found(line: str) -> None:
    assert bold_left_as_stars(line)


@each_chapter
def test_bold_words_are_set_in_bold(path: Path) -> None:
    for name, _, chinese in pairs(path):
        prose = re.sub(r"^```.*?^```$", "", chinese, flags=re.MULTILINE | re.DOTALL)
        assert [words for line in prose.splitlines() for words in bold_left_as_stars(line)] == [], name


# ------------------------------------------------------------------------------------- what the script notices and does

NAME = "01_greeting"
PROSE = "# Greeting\n\nGood morning."


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one English notebook and its Chinese edition, whole and current."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    (tmp_path / "notebooks" / "zh").mkdir(parents=True)
    write_english(tmp_path, PROSE, "Goodbye.")
    markers = re.findall(r"<!-- .+ -->", start_over(tmp_path).stderr)
    translation(tmp_path).write_text(f"{markers[0]}\n\n# 问候\n\n早上好。\n\n{markers[1]}\n\n再见。\n")
    assert run(tmp_path / "scripts" / SCRIPT.name).returncode == 0
    return tmp_path


def write_english(checkout: Path, *prose: str) -> None:
    markdown = [
        {"cell_type": "markdown", "id": f"prose-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
        for number, text in enumerate(prose)
    ]
    code = {
        "cell_type": "code",
        "execution_count": None,
        "id": "code",
        "metadata": {},
        "outputs": [],
        "source": ["print('早')"],
    }
    notebook = {"cells": [*markdown, code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (checkout / "notebooks" / f"{NAME}.ipynb").write_text(json.dumps(notebook))


def start_over(checkout: Path) -> subprocess.CompletedProcess[str]:
    """A translator's first step: an empty file, and the script names the markers it wants."""
    translation(checkout).write_text("")
    return run(checkout / "scripts" / SCRIPT.name)


def translation(checkout: Path) -> Path:
    return checkout / "notebooks" / "zh" / f"{NAME}.md"


def generated(checkout: Path) -> Path:
    return checkout / "notebooks" / "zh" / f"{NAME}.ipynb"


def check(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(checkout / "scripts" / SCRIPT.name, "--check", *arguments)


def test_a_current_edition_passes(checkout: Path) -> None:
    assert check(checkout, "--complete").returncode == 0


def test_the_generated_notebook_holds_the_translation_and_the_code(checkout: Path) -> None:
    sources = ["".join(cell["source"]) for cell in cells(generated(checkout))]
    assert sources == ["# 问候\n\n早上好。", "再见。", "print('早')"]


def test_an_edited_english_cell_is_named(checkout: Path) -> None:
    before = generated(checkout).read_text()
    write_english(checkout, PROSE.replace("morning", "evening"), "Goodbye.")
    for ran in (check(checkout), run(checkout / "scripts" / SCRIPT.name)):
        assert ran.returncode == 1
        (line,) = ran.stderr.splitlines()
        assert "cell prose-0: the English has changed since" in line
    assert generated(checkout).read_text() == before, "nothing stale is written"


def test_a_new_english_cell_is_named(checkout: Path) -> None:
    write_english(checkout, PROSE, "Goodbye.", "And hello again.")
    ran = check(checkout)
    assert ran.returncode == 1
    assert "cell prose-2: not translated" in ran.stderr


def test_a_missing_section_is_named(checkout: Path) -> None:
    text = translation(checkout).read_text()
    translation(checkout).write_text(text[: text.index("<!-- cell: prose-1")])
    ran = check(checkout)
    assert ran.returncode == 1
    assert "cell prose-1: not translated" in ran.stderr


def test_an_empty_section_is_named(checkout: Path) -> None:
    translation(checkout).write_text(translation(checkout).read_text().replace("再见。", ""))
    assert "cell prose-1: nothing below its marker" in check(checkout).stderr


def test_a_section_whose_cell_is_gone_is_named(checkout: Path) -> None:
    write_english(checkout, PROSE)
    ran = check(checkout)
    assert ran.returncode == 1
    assert "cell prose-1: no such Markdown cell in English" in ran.stderr


def test_an_edited_generated_notebook_is_noticed_and_written_again(checkout: Path) -> None:
    written = generated(checkout).read_text()
    generated(checkout).write_text(written.replace("早上好", "晚上好"))
    ran = check(checkout)
    assert ran.returncode == 1
    assert f"zh/{NAME}.ipynb is not what English and translation make" in ran.stderr
    assert run(checkout / "scripts" / SCRIPT.name).returncode == 0
    assert generated(checkout).read_text() == written


def test_a_change_in_code_alone_needs_no_translator(checkout: Path) -> None:
    path = checkout / "notebooks" / f"{NAME}.ipynb"
    path.write_text(path.read_text().replace("print", "repr"))
    assert check(checkout).returncode == 1
    assert run(checkout / "scripts" / SCRIPT.name).returncode == 0
    assert cells(generated(checkout))[2] == cells(path)[2]


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ("前言\n\n{text}", "text before the first marker belongs to no cell"),
        ("{text}\n<!-- cell: prose-1 -->\n", "not a marker: <!-- cell: prose-1 -->"),
        ("{text}\n{text}", "cell prose-0: translated twice"),
    ],
)
def test_what_cannot_be_read_as_sections_is_named(checkout: Path, spoilt: str, said: str) -> None:
    text = translation(checkout).read_text()
    translation(checkout).write_text(spoilt.format(text=text))
    ran = check(checkout)
    assert ran.returncode == 1
    assert said in ran.stderr


def test_a_notebook_without_any_translation_is_a_warning_or_an_error_as_asked(checkout: Path) -> None:
    translation(checkout).unlink()
    generated(checkout).unlink()
    assert check(checkout).returncode == 0
    assert f"warning: {NAME}: not translated" in check(checkout).stdout
    assert check(checkout, "--complete").returncode == 1


def test_an_edition_without_its_translation_or_its_english_is_an_error(checkout: Path) -> None:
    text = translation(checkout).read_text()
    translation(checkout).unlink()
    assert f"zh/{NAME}.md is missing" in check(checkout).stderr
    translation(checkout).write_text(text)
    (checkout / "notebooks" / f"{NAME}.ipynb").unlink()
    ran = check(checkout)
    assert ran.returncode == 1
    assert "there is no English notebook of that name" in ran.stderr
