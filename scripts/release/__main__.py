"""Build the image as it is published: dated by its commit, the same bits wherever it is built from the same base.

    python scripts/release build [TARGET …]        dist/TARGET.tar, an OCI image each, and its digest
    python scripts/release reproduce [TARGET …]    build twice from nothing; 1 where the digests differ, and in what
    python scripts/release pull                    push, pull and start what is built; docs/benchmarks/pull.md

A target is `workstation` or `devel`; both, when none is named. What is committed is what is built.
Exit codes: 0 done, 1 not reproducible, 69 no engine can do it, 75 another is at work, 77 root is needed, 78 there are
uncommitted changes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine import Engine, ReleaseError, containerd_engine
from layout import Image, differences
from pull import write_report
from seal import seal

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
TARGETS = ("workstation", "devel")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")  # Docker keeps these out of the image
LOCAL_BASE = "torch-workstation-base:local"  # scripts/base-image makes it where no registry answers


def git(*command: str) -> str:
    return subprocess.run(["git", "-C", ROOT, *command], check=True, capture_output=True, text=True).stdout.strip()


def version(commit: str) -> str:
    found = re.search(r'^__version__ = "(.+)"$', git("show", f"{commit}:src/workstation/__init__.py"), re.MULTILINE)
    assert found is not None
    return found[1]


def settings() -> dict[str, str]:
    """What a build on this machine is given: .env, the shell and the commit's own defaults, as Compose reads them."""
    asked = subprocess.run(
        ["docker", "compose", "config", "--format", "json"], cwd=ROOT, capture_output=True, text=True
    )
    if asked.returncode != 0:
        raise ReleaseError(f"docker compose cannot read its settings: {asked.stderr.strip()}", "Mend .env", 78)
    project = json.loads(asked.stdout.replace("$$", "$"))  # Compose writes what it could read again
    arguments = project["services"]["workstation"]["build"]["args"]
    return {name: value for name, value in arguments.items() if value} | {"CA_BUNDLE": project["secrets"]["ca"]["file"]}


def pinned(base_image: str) -> tuple[str, str]:
    """What to build from, and its digest. A tag alone would name another image tomorrow, and may do so on this machine.

    A base that this machine made is in no registry and has no digest that another machine would know.
    """
    name, _, digest = base_image.partition("@")
    if base_image == LOCAL_BASE or digest:
        return base_image, digest
    engine = Engine("")
    engine.output("pull", "--quiet", name)
    digests: list[str] = json.loads(engine.output("image", "inspect", "--format", "{{json .RepoDigests}}", name))
    digest = digests[0].rpartition("@")[2]
    return f"{name}@{digest}", digest


def build(engine: Engine, targets: Sequence[str], out: Path, commit: str, cache: bool = True) -> dict[str, Image]:
    """Build `targets` of `commit` into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    chosen = settings()
    base, digest = pinned(chosen["BASE_IMAGE"])
    variables = {
        **chosen,
        "BASE_IMAGE": base,
        "BASE_DIGEST": digest,
        "REVISION": commit,
        "VERSION": version(commit),
        "BUILDER": engine.output("version", "--format", "Docker {{.Server.Version}}"),
        "OUT": str(out),
    }
    with tempfile.TemporaryDirectory() as folder:
        # A checkout of its own: what git does not track cannot slip in, and every mode is git's.
        git("worktree", "add", "--detach", "--force", folder, commit)
        try:
            for number, target in enumerate(targets):
                command = ["docker", "buildx", "build", "--builder", "default", "--network", engine.network]
                command += [f"--build-arg={name}={chosen[name]}" for name in PROXIES if name in chosen]
                if number == 0 and not cache:
                    command += ["--no-cache"]  # the later ones stand on what the first has just made
                command += baked(target, variables)
                if subprocess.run(command, cwd=folder, env=engine.environment).returncode != 0:
                    raise ReleaseError(f"the build of {target} failed", "The lines above say where", 69)
        finally:
            git("worktree", "remove", "--force", folder)
    commit_time = int(git("log", "-1", "--format=%ct", commit))
    return {target: seal(out / f"{target}.tar", commit_time) for target in targets}


def baked(target: str, variables: Mapping[str, str]) -> list[str]:
    """What docker-bake.hcl says of a target, as `docker buildx build` wants it: bake itself has no --network."""
    asked = ["docker", "buildx", "bake", "--file", "docker-bake.hcl", "--print", target]
    printed = subprocess.run(asked, cwd=ROOT, env=os.environ | variables, check=True, capture_output=True, text=True)
    definition = json.loads(printed.stdout)["target"][target]
    options = ["--target", definition["target"], "--platform", *definition["platforms"]]
    options += [word for name, value in definition["args"].items() for word in ("--build-arg", f"{name}={value}")]
    for name in ("secret", "attest", "output"):
        options += [word for value in definition[name] for word in (f"--{name}", value)]
    return [*options, definition["context"]]


def reproduce(targets: Sequence[str], commit: str) -> int:
    """Build twice from nothing and compare, target by target. The commit is the same, whatever HEAD is meanwhile."""
    with tempfile.TemporaryDirectory(dir=DIST) as folder:
        runs = []
        for number in ("first", "second"):
            with containerd_engine(settings()["BASE_IMAGE"]) as engine:
                runs.append(build(engine, targets, Path(folder) / number, commit, cache=False))
        differ = 0
        for target in targets:
            first, second = (run[target] for run in runs)
            lines = list(differences(first, second))
            print("\n".join([f"{target}: {first.digest} {'twice' if not lines else f'and {second.digest}'}", *lines]))
            differ |= bool(lines)
    return differ


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("build", "reproduce", "pull"))
    parser.add_argument("targets", nargs="*", metavar="TARGET", choices=[*TARGETS, []], default=[])
    arguments = parser.parse_args()
    targets = arguments.targets or TARGETS
    try:
        if arguments.action == "pull":
            write_report(repeats=3)
            return 0
        if git("status", "--porcelain", "--untracked-files=no"):
            raise ReleaseError("there are uncommitted changes", "Commit them: a release is a commit's image", 78)
        DIST.mkdir(exist_ok=True)
        commit = git("rev-parse", "HEAD")
        if arguments.action == "reproduce":
            return reproduce(targets, commit)
        with containerd_engine(settings()["BASE_IMAGE"]) as engine:
            for target, image in build(engine, targets, DIST, commit).items():
                packed = sum(layer["size"] for layer in image.layers)
                print(f"{image.path.relative_to(ROOT)}: {target} {image.digest}, {packed / 1e9:.2f} GB to pull")
            return 0
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return error.code


if __name__ == "__main__":
    sys.exit(main())
