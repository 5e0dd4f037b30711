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


def env_file() -> dict[str, str]:
    lines = (ROOT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


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
    settings = env_file()
    command = ["docker", "buildx", "build", "--load", "--quiet", "--tag", tag, *options]
    command += ["--build-arg", f"BASE_IMAGE={settings['BASE_IMAGE']}", "--secret", f"id=ca,src={settings['CA_BUNDLE']}"]
    command += ["--file", str(dockerfile)] if dockerfile else []
    before = time.monotonic()
    subprocess.run([*command, str(context)], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - before


def image_exists(name: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", name], capture_output=True).returncode == 0


def digests(image: str) -> list[str]:
    found: list[str] = json.loads(output("docker", "image", "inspect", image))[0]["RootFS"]["Layers"]
    return found
