"""What can be said of .github/workflows here: they run on GitHub alone. Their schema is checked by `make lint`."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from project import ROOT
from registry import layer, oci_image

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RELEASE = ROOT / ".github" / "workflows" / "release.yml"
MAKEFILE = (ROOT / "Makefile").read_text()
every_workflow = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def steps(file: Path) -> list[dict[str, Any]]:
    return [step for job in yaml.safe_load(file.read_text())["jobs"].values() for step in job["steps"]]


def played(
    step: str, folder: Path, programs: Mapping[str, str], **environment: str
) -> subprocess.CompletedProcess[str]:
    """The step of release.yml of that name, run as the runner does; `programs` are played by the given shell lines."""
    (text,) = [each["run"] for each in steps(RELEASE) if each.get("name") == step]
    for program, does in programs.items():
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / program).write_text(f"#!/bin/bash\n{does}\n")
        (folder / "bin" / program).chmod(0o755)
    command = ["bash", "-e", "-c", text.replace("${{ matrix.architecture }}", "amd64")]
    path = f"{folder}/bin:/usr/bin:/bin"
    return subprocess.run(command, cwd=folder, env={"PATH": path, **environment}, capture_output=True, text=True)


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
            if "ghcr.io" not in json.dumps(job):
                continue  # it has nothing to do with the registry
            assert any("docker/login-action" in step.get("uses", "") for step in job["steps"])
            granted = job.get("permissions") or yaml.safe_load(text)["permissions"]
            assert granted["packages"] in {"read", "write"}


def test_ci_runs_every_check_there_is() -> None:
    ran = set(re.findall(r"[a-z-]+", " ".join(re.findall(r"make ([a-z -]+)", script("ci")))))
    (test,) = re.findall(r"^test: ([a-z -]+) ##", MAKEFILE, re.MULTILINE)
    assert {*test.split(), "lint", "course", "verify", "faults", "deploy-check", "supply-check"} <= ran


def test_what_is_published_was_booted_and_judged_by_what_make_verify_requires() -> None:
    jobs = yaml.safe_load(RELEASE.read_text())["jobs"]
    build, publish = jobs["build"], jobs["publish"]
    told = "\n".join(step.get("run", "") for step in build["steps"])
    order = ["publish push", "docker pull", "scripts/audit", "imagecheck", "tests/image/test_devel.py"]
    assert [told.index(each) for each in order] == sorted(told.index(each) for each in order)
    assert publish["needs"] == ["build", "again"]
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


def test_each_judge_is_given_an_image_that_is_there(tmp_path: Path) -> None:
    """A judge that is told of none takes $IMAGE, which this job sets to a name without a tag."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    (tmp_path / "dist").mkdir()
    for target in ("workstation", "devel"):
        (tmp_path / "dist" / f"{target}.tar").touch()
    programs = {name: f'echo "{name} $*"' for name in ("docker", "python", "pytest")} | {"make": "echo stack"}
    image = {"IMAGE": "ghcr.io/owner/name", "VERSION": "v1"}
    done = played("publish, pull and judge", tmp_path, programs, **image)
    assert done.returncode == 0, done.stderr
    assert list(judged(done.stdout)) == [(f"ghcr.io/owner/name:v1{each}-amd64", True) for each in ("", "-devel")]


def judged(told: str) -> Iterator[tuple[str, bool]]:
    """Each image that imagecheck or pytest was given, and whether it had been pulled and not yet removed."""
    there: set[str] = set()
    for line in told.splitlines():
        match line.split():
            case ["docker", "pull", "--quiet", name]:
                there.add(name)
            case ["docker", "image", "rm", *names]:
                there -= set(names)
            case ["python", "-m", "imagecheck", name, *_]:
                yield name, name in there
            case ["pytest", *words]:
                name = words[words.index("--workstation-image") + 1] if "--workstation-image" in words else "$IMAGE"
                yield name, name in there


def test_what_two_machines_did_not_build_alike_gets_no_name(tmp_path: Path) -> None:
    """The second machine's digests, as it hands them on, against what a registry says it was given."""
    (tmp_path / "dist").mkdir()
    built = {
        target: oci_image(tmp_path / "dist" / f"{target}.tar", layer(file=target.encode()))["manifest"]
        for target in ("workstation", "devel")
    }
    done = played("digests", tmp_path, {}, GITHUB_OUTPUT=str(tmp_path / "output"))
    assert done.returncode == 0, done.stderr
    name, _, again = (tmp_path / "output").read_text().removesuffix("\n").partition("=")
    assert name == "amd64"
    says = f"case $2 in *-devel-*) echo {built['devel']} ;; *) echo {built['workstation']} ;; esac"
    other = again.replace(built["devel"], built["workstation"])
    for second, code in ((again, 0), (other, 1), ("", 1)):
        image = {"IMAGE": "ghcr.io/owner/name", "VERSION": "v1", "amd64": again, "arm64": second}
        done = played("two machines built the same bits", tmp_path, {"oras": says}, **image)
        assert (done.returncode, "Re-run all jobs" in done.stdout) == (code, bool(code)), done.stdout + done.stderr
    done = played("two machines built the same bits", tmp_path, {"oras": "exit 1"}, **image)
    assert done.returncode == 1, "a registry that does not answer is no agreement"


def test_both_machines_finish_before_the_names_are_made() -> None:
    names = [step.get("name") for step in yaml.safe_load(RELEASE.read_text())["jobs"]["publish"]["steps"]]
    both, one = "two machines built the same bits", "one name for both architectures, verified as a reader would"
    assert names.index(both) < names.index(one)
