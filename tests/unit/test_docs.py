"""The pages point at what is there, name commands that exist and tests that run them; both languages say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
COMPOSE = ROOT / "docker-compose.yml"
DOCS = ROOT / "docs"
HOW_TO = [
    *sorted((DOCS / "deploy").glob("*.md")),
    *(DOCS / page for page in ("distributed.md", "imagecheck.md", "llm.md", "llm-finetune.md")),
    *(DOCS / page for page in ("server.md", "troubleshooting.md")),
]

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# A block of any language, the line above it, and its first line.
BLOCK = re.compile(r"(?:^(.*)\n)?^```(.*)\n(.*)(?:\n(?:.*\n)*?)^```$", re.MULTILINE)
COMMANDS = ("sh", "bash", "console")
# <!-- run by: FILE::TEST, FILE::TEST; not run: what of it --> or one half of that.
MARKER = re.compile(r"<!-- (?:run by: ([^;]+?))?(?:; )?(?:not run: (.+))? -->")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def code(page: Path) -> list[str]:
    """What is set as code: the blocks, and the words between backticks."""
    return [*FENCE.findall(page.read_text()), *re.findall(r"`([^`\n]+)`", prose(page))]


def anchors(page: Path) -> set[str]:
    """GitHub's names for the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue  # elsewhere on the network
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def unknown_targets(page: Path) -> set[str]:
    commands = re.findall(r"(?:^|[\s(])make((?: [a-z][a-z-]*)+)", "\n".join(code(page)))
    return {target for command in commands for target in command.split()} - make_targets()


def compose_variables(text: str) -> set[str]:
    """What docker-compose.yml takes from outside: ${NAME…}, and the names that it passes on without a value."""
    compose: dict[str, Any] = yaml.safe_load(text)
    service = compose["services"]["workstation"]
    passed_on = {**service["environment"], **service["build"]["args"]}
    return set(re.findall(r"\$\{(\w+)", yaml.safe_dump(compose))) | {
        name for name, value in passed_on.items() if value is None
    }


def rows(page: Path) -> list[list[str]]:
    """The cells of every table, header and all."""
    lines = re.findall(r"^\|(.+)\|$", prose(page), re.MULTILINE)
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines if not re.fullmatch(r"[-|: ]+", line)
    ]


def shape(page: Path) -> dict[str, object]:
    """What two languages must share: headings' levels, tables, commands, links, names and numbers."""
    return {
        "headings": re.findall(r"^#+", prose(page), re.MULTILINE),
        "columns of each row": [len(row) for row in rows(page)],
        "code": [re.sub(r"\s*#.*", "", block) for block in FENCE.findall(page.read_text())],
        "words in code": sorted(re.findall(r"`([^`\n]+)`", prose(page))),
        "links": sorted(set(LINK.findall(prose(page))) - {ENGLISH.name, CHINESE.name}),
        "numbers": sorted(re.findall(r"\d+(?:\.\d+)*", prose(page))),
    }


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_and_picture_is_there(page: Path) -> None:
    assert list(dead_links(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    assert unknown_targets(page) == set()


@pytest.mark.parametrize("readme", [ENGLISH, CHINESE], ids=name)
def test_every_variable_of_the_compose_file_is_in_the_table(readme: Path) -> None:
    explained = {variable for row in rows(readme) for variable in re.findall(r"`([A-Z_]+)`", row[0])}
    assert compose_variables(COMPOSE.read_text()) - explained == set()


@pytest.mark.parametrize("what", ["headings", "columns of each row", "code", "words in code", "links", "numbers"])
def test_both_languages_say_the_same(what: str) -> None:
    assert shape(CHINESE)[what] == shape(ENGLISH)[what]


def test_every_python_package_is_as_locked() -> None:
    """A version in README that the lock has left behind."""
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", "".join(lock.read_text() for lock in locks()), re.MULTILINE))
    told = re.findall(r"([A-Za-z][\w-]+) (\d+(?:\.\d+)+)", " ".join(cell for row in rows(ENGLISH) for cell in row))
    packages = [(package.lower(), version) for package, version in told if package.lower() in locked]
    assert len(packages) > 20
    assert [(package, version, locked[package]) for package, version in packages if version != locked[package]] == []


def locks() -> list[Path]:
    return [ROOT / "requirements" / f"{layer}.txt" for layer in ("cuda", "torch", "science", "jupyter")]


def unaccounted(page: Path) -> Iterator[str]:
    """Blocks of commands with neither a test that runs them nor a reason why none does; tests that are not there."""
    for above, language, first in BLOCK.findall(page.read_text()):
        marker = MARKER.fullmatch(above)
        if not language:
            yield f"{first}: say what language it is"
        elif language in COMMANDS and not (marker and any(marker.groups())):
            yield f"{first}: no marker above it"
        elif marker:
            yield from (test for test in (marker[1] or "").split(", ") if test and not exists(test))


def exists(test: str) -> bool:
    file, _, function = test.partition("::")
    path = ROOT / file
    return function.startswith("test_") and path.is_file() and f"def {function}(" in path.read_text()


@pytest.mark.parametrize("page", HOW_TO, ids=name)
def test_every_block_of_commands_names_its_test_or_why_there_is_none(page: Path) -> None:
    assert list(unaccounted(page)) == []


def test_a_block_without_a_marker_and_a_test_that_is_gone_are_found(tmp_path: Path) -> None:
    here = "tests/unit/test_docs.py"
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nbare\n```\n"
        "\nProse.\n```sh\nbelow prose\n```\n"
        "<!-- not run: -->\n```sh\nno reason\n```\n"
        "<!-- -->\n```console\n$ nothing said\n```\n"
        "```\nno language\n```\n"
        f"<!-- run by: {here}::test_gone, {here}::exists -->\n```sh\na test that is gone\n```\n"
        "<!-- run by: tests/gone.py::test_x; not run: the rest -->\n```sh\na file that is gone\n```\n"
        f"<!-- run by: {here}::test_a_link_to_nothing_is_found; not run: a; b -->\n```sh\nfine\n```\n"
        "<!-- not run: needs a cloud; really -->\n```sh\nfine\nand long\n```\n"
        "```yaml\nfine: yes\n```\n"
    )
    assert list(unaccounted(page)) == [
        "bare: no marker above it",
        "below prose: no marker above it",
        "no reason: no marker above it",
        "$ nothing said: no marker above it",
        "no language: say what language it is",
        f"{here}::test_gone",
        f"{here}::exists",
        "tests/gone.py::test_x",
    ]


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading: two words\n[a](gone.md) [b](#a-heading-two-words) [c](#gone) [d](https://example.org/x)\n"
    )
    assert list(dead_links(page)) == ["gone.md", "#gone"]


def test_a_target_that_make_has_not_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`make up`, `make fly`; we make it so.\n\n```sh\nmake lint glide   # make no mistake\n```\n")
    assert {"fly", "glide"} <= unknown_targets(page)


def test_a_variable_that_compose_takes_from_outside_is_found() -> None:
    text = "services: {workstation: {image: '${NEW:-x}', environment: {BARE: }, build: {args: {PROXY: , SET: 1}}}}"
    assert compose_variables(text) == {"NEW", "BARE", "PROXY"}
