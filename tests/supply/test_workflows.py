"""What can be said of .github/workflows here: they run on GitHub alone. Their schema is checked by `make lint`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from project import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
every_workflow = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def steps(file: Path) -> list[dict[str, Any]]:
    return [step for job in yaml.safe_load(file.read_text())["jobs"].values() for step in job["steps"]]


def script(name: str) -> str:
    file = ROOT / ".github" / "workflows" / f"{name}.yml"
    return "\n".join(step["run"] for step in steps(file) if "run" in step)


@every_workflow
def test_every_action_is_pinned_by_its_commit_and_says_of_which_version_it_is(file: Path) -> None:
    uses = [line.strip() for line in file.read_text().splitlines() if re.match(r" *(- )?uses:", line)]
    loose = [line for line in uses if not re.search(r"uses: [\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", line)]
    assert not loose
    assert uses


def test_an_action_is_of_one_version_everywhere() -> None:
    found = {line for file in FILES for line in re.findall(r"uses: (.*)", file.read_text())}
    assert len(found) == len({line.partition("@")[0] for line in found})


@every_workflow
def test_each_make_target_is_one_of_the_makefile(file: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    for step in steps(file):
        for words in re.findall(r"^(?:sudo )?make ([a-z -]+?)(?: [A-Z]+=\S+)*$", step.get("run", ""), re.MULTILINE):
            assert set(words.split()) <= targets, words


@every_workflow
def test_what_is_pulled_or_pushed_is_logged_in_for_and_in_small_letters(file: Path) -> None:
    text = file.read_text()
    if "ghcr.io" in text:
        assert not re.search(r"ghcr\.io/(?!\$\{GITHUB_REPOSITORY,,\})", text)
        for job in yaml.safe_load(text)["jobs"].values():
            assert any("docker/login-action" in step.get("uses", "") for step in job["steps"])
            granted = job.get("permissions") or yaml.safe_load(text)["permissions"]
            assert granted["packages"] in {"read", "write"}


def test_ci_runs_every_check_there_is() -> None:
    ran = set(re.findall(r"[a-z-]+", " ".join(re.findall(r"make ([a-z -]+)", script("ci")))))
    (test,) = re.findall(r"^test: ([a-z -]+) ##", MAKEFILE, re.MULTILINE)
    assert {*test.split(), "lint", "course", "verify", "faults", "deploy-check", "supply-check"} <= ran


def test_what_is_published_was_booted_and_judged_by_what_make_verify_requires() -> None:
    build, publish = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"].values()
    told = "\n".join(step.get("run", "") for step in build["steps"])
    order = ["publish push", "docker pull", "scripts/audit", "imagecheck", "tests/image/test_devel.py"]
    assert [told.index(each) for each in order] == sorted(told.index(each) for each in order)
    assert publish["needs"] == "build"
    (command,) = re.findall(r"decidable=\$\((.*)\)$", told, re.MULTILINE)
    asked = subprocess.run(["bash", "-c", command], cwd=ROOT, check=True, capture_output=True, text=True)
    assert asked.stdout.strip() == re.findall(r"^DECIDABLE := (.*)", MAKEFILE, re.MULTILINE)[0]


def test_the_ref_that_published_is_the_one_that_must_have_signed() -> None:
    (line,) = re.findall(r"^identity=.*", script("release"), re.MULTILINE)
    environment = {
        "PATH": "/usr/bin:/bin",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_WORKFLOW_REF": "Owner/name/.github/workflows/release.yml@refs/tags/v1.0+cu",
    }
    told = subprocess.run(
        ["bash", "-ec", f'{line}\nprintf %s "$identity"'], env=environment, check=True, capture_output=True, text=True
    ).stdout
    signed = "https://github.com/Owner/name/.github/workflows/release.yml@refs/"
    assert re.fullmatch(told, f"{signed}tags/v1.0+cu")
    assert not any(re.search(told, signed + other) for other in ("heads/main", "tags/v1.0+cu1", "tags/v1x0+cu"))
