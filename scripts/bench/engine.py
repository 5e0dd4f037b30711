"""The docker command, as the measurements use it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "docs" / "benchmarks"
RECIPES = RESULTS / "recipes"
IMAGE, NAIVE, SCRATCH = "torch-workstation:local", "torch-workstation-naive:bench", "torch-workstation-scratch:bench"


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def build_settings() -> dict[str, str]:
    """What a build on this machine stands on, as Compose reads it from .env and the shell."""
    asked = ["docker", "compose", "config", "--format", "json"]
    project = json.loads(subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    base = project["services"]["workstation"]["build"]["args"]["BASE_IMAGE"]
    return {"BASE_IMAGE": base, "CA_BUNDLE": project["secrets"]["ca"]["file"]}


def copy_of_the_tree(folder: str) -> Path:
    """To be changed and built from; `folder` is empty."""
    context = Path(folder, "context")
    left_out = shutil.ignore_patterns(".git", ".venv", ".cache", "dist", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, context, ignore=left_out)
    return context


def add_line(file: Path) -> None:
    """A comment that no other has: the smallest change there is."""
    with file.open("a") as lines:
        lines.write(f"# {os.urandom(8).hex()}\n")


def build(context: Path, tag: str, *options: str, dockerfile: Path | None = None) -> float:
    """Seconds a build takes."""
    chosen = build_settings()
    command = ["docker", "buildx", "build", "--load", "--quiet", "--tag", tag, *options]
    command += ["--build-arg", f"BASE_IMAGE={chosen['BASE_IMAGE']}", "--secret", f"id=ca,src={chosen['CA_BUNDLE']}"]
    command += ["--file", str(dockerfile)] if dockerfile else []
    before = time.monotonic()
    subprocess.run([*command, str(context)], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - before


def image_exists(name: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", name], capture_output=True).returncode == 0


def digests(image: str) -> list[str]:
    found: list[str] = json.loads(output("docker", "image", "inspect", image))[0]["RootFS"]["Layers"]
    return found
