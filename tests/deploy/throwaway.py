"""Tools that a deployment's files are checked with, each in a folder of its own under .cache/deploy.

Nothing is installed on the system, and nothing enters the project's .venv: `rm -r .cache/deploy` undoes it all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TOOLS = ROOT / "tests" / "deploy" / "tools"
CACHE = ROOT / ".cache" / "deploy"
PATIENCE_S = 300
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}  # a tool is started many times: half of a start would be compiling


class ToolError(AssertionError):
    """A tool could not be had; the message is what its installer said."""


def run(
    *command: str | Path, environment: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Standard error beside standard output: what a person would see."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | COMPILED | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )


def require(*command: str | Path, environment: Mapping[str, str] | None = None, cwd: Path = ROOT) -> str:
    ran = run(*command, environment=environment, cwd=cwd)
    if ran.returncode != 0:
        raise ToolError(f"`{' '.join(map(str, command))}` ended with {ran.returncode}:\n{ran.stdout}")
    return ran.stdout


def venv(name: str, lock: Path) -> Path:
    """The `bin` of a venv that holds exactly what `lock` names; made anew when the lock changes."""
    where, stamp = CACHE / name, CACHE / name / "lock.sha256"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        require("uv", "venv", "--quiet", "--clear", where)
        require("uv", "pip", "install", "--quiet", "--python", where / "bin" / "python", "--require-hashes", "-r", lock)
        stamp.write_text(wanted)
    return where / "bin"


def node_modules() -> Path:
    """The `.bin` with configurable-http-proxy and the devcontainers CLI, as tools/package-lock.json names them."""
    where, lock = CACHE / "node", TOOLS / "package-lock.json"
    stamp, wanted = where / "lock.sha256", hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        where.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(TOOLS / name, where)
        require("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=where)
        stamp.write_text(wanted)
    return where / "node_modules" / ".bin"


def debian_package(name: str) -> Path:
    """The newest version of a package that this machine's mirror has, unpacked; the folder stands for `/`."""
    where = CACHE / name
    if not where.exists():
        unpacking = CACHE / f"{name}.part"
        shutil.rmtree(unpacking, ignore_errors=True)
        unpacking.mkdir(parents=True)
        if run("apt-get", "download", _newest(name), cwd=unpacking).returncode != 0:
            require("apt-get", "update")  # an old list names files that the mirror no longer has
            require("apt-get", "download", _newest(name), cwd=unpacking)
        require("dpkg-deb", "--extract", next(unpacking.glob("*.deb")), unpacking)
        unpacking.rename(where)
    return where


def _newest(name: str) -> str:
    """NAME=VERSION: apt alone would choose by its pins."""
    offers = run("apt-cache", "madison", name).stdout.splitlines()
    return f"{name}={offers[0].split('|')[1].strip()}" if offers else name
