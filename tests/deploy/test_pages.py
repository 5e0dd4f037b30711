"""The how-to pages say what was run and what was not; the threat model's promises name tests that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from throwaway import ROOT, require

PAGES = sorted(path for path in (ROOT / "docs" / "deploy").glob("*.md") if path.name != "README.md")
THREATS = ROOT / "docs" / "threat-model.md"
KEPT_BY = re.compile(r"\[([\w.-]+)\]\(([^)]+)\) \|$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_page_ends_with_what_was_run_and_what_never_was(page: Path) -> None:
    last = page.read_text().rpartition("\n## ")[2]
    assert last.startswith("What is tested\n")
    assert "| CI runs | never run here |" in last


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "deploy" / "README.md").read_text()
    assert [page.name for page in PAGES if f"({page.name})" not in index] == []


def test_every_promise_is_kept_by_a_test_that_exists() -> None:
    promised = THREATS.read_text().partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line for line in promised.splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(KEPT_BY.findall(promised)) > 15
    assert list(missing(promised, THREATS.parent)) == []


def missing(text: str, folder: Path) -> Iterator[str]:
    for name, file in KEPT_BY.findall(text):
        kept = (folder / file).read_text() if (folder / file).is_file() else ""
        if f"def {name}(" not in kept and f'@promise("{name}",' not in kept:
            yield name


def test_a_promise_without_a_test_is_seen() -> None:
    text = "| x | [test_nothing](../tests/deploy/test_pages.py) |\n| y | [test_gone](../tests/gone.py) |"
    assert list(missing(text, THREATS.parent)) == ["test_nothing", "test_gone"]


def test_a_secret_takes_the_place_of_the_token_in_compose(tmp_path: Path) -> None:
    """As docs/server.md says: two tokens would stop the start."""
    (line,) = re.findall(r"`(JUPYTER_TOKEN: [^`]+)`", (ROOT / "docs" / "server.md").read_text())
    environment = f"{line}\n      JUPYTER_TOKEN_FILE: /run/secrets/token"
    (tmp_path / "mine.yml").write_text(f"services:\n  workstation:\n    environment:\n      {environment}\n")
    (tmp_path / "env").write_text("JUPYTER_TOKEN=of-.env\n")
    files = ("--env-file", tmp_path / "env", "--file", "docker-compose.yml", "--file", tmp_path / "mine.yml")
    read = json.loads(require("docker", "compose", *files, "config", "--format", "json"))
    given = read["services"]["workstation"]["environment"]
    assert "JUPYTER_TOKEN" not in given
    assert given["JUPYTER_TOKEN_FILE"] == "/run/secrets/token"
