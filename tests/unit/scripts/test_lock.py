"""scripts/lock: one resolution, each package in the first layer of the image that needs it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

Load = Callable[[str], ModuleType]

RESOLVED = """\
cuda-toolkit==13.0.3 \\
    --hash=sha256:00
    # via torch
jinja2==3.1.6 \\
    --hash=sha256:01 \\
    --hash=sha256:02
    # via
    #   jupyterlab
    #   torch
jupyterlab==4.6.6 \\
    --hash=sha256:03
    # via -r jupyter.in
markupsafe==3.0.3 ; sys_platform == 'linux' \\
    --hash=sha256:04
    # via jinja2
ninja==1.13 \\
    --hash=sha256:05
    # via -r devel.in
numpy==2.5.5 \\
    --hash=sha256:06
    # via
    #   -r science.in
    #   pandas
nvidia-cublas==13.1.1 \\
    --hash=sha256:07
    # via cuda-toolkit
nvidia-cuda-nvcc==13.0.88 \\
    --hash=sha256:08
    # via -r devel.in
pandas==3.1.1 \\
    --hash=sha256:09
    # via -r science.in
torch[opt]==2.14.1 \\
    --hash=sha256:10
    # via
    #   -r torch.in
    #   torchvision
torchvision==0.29.1 \\
    --hash=sha256:11
    # via -r torch.in
"""


def test_every_package_is_in_the_first_layer_that_needs_it(load: Load) -> None:
    lock = load("lock")
    assert lock.by_layer(lock.split(RESOLVED)) == {
        "cuda": ["cuda-toolkit", "nvidia-cublas"],
        "torch": ["jinja2", "markupsafe", "torch", "torchvision"],  # jinja2: torch asks, before jupyterlab does
        "science": ["numpy", "pandas"],
        "jupyter": ["jupyterlab"],
        "devel": ["ninja", "nvidia-cuda-nvcc"],  # NVIDIA's too, but torch does not ask for it
    }


def test_no_line_is_lost_or_changed_by_the_split(load: Load) -> None:
    assert "".join(load("lock").split(RESOLVED).values()) == RESOLVED


def test_a_package_that_no_layer_asks_for_is_an_error(load: Load) -> None:
    lock = load("lock")
    with pytest.raises(SystemExit, match="stray"):
        lock.by_layer(lock.split(RESOLVED + "stray==1.0 \\\n    --hash=sha256:12\n    # via -r forgotten.in\n"))


def wheel(folder: Path, name: str, version: str, *needs: str) -> None:
    """The smallest wheel that an installer takes."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for path, text in files.items()
    )
    with zipfile.ZipFile(folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)


@pytest.fixture
def project(checkout: Path) -> Path:
    """Requirements that resolve against an index of a few empty wheels, without a network."""
    index, requirements = checkout / "index", checkout / "requirements"
    index.mkdir()
    requirements.mkdir()
    wheel(index, "nvidia-cublas", "13.1.1")
    wheel(index, "torch", "2.14.1", "nvidia-cublas")
    wheel(index, "numpy", "2.5.5")
    wheel(index, "jupyterlab", "4.6.6", "numpy")
    wheel(index, "ninja", "1.13")
    for layer, package in {
        "torch": "torch",
        "science": "numpy",
        "jupyter": "jupyterlab",
        "devel": "ninja",
        "host": "ninja",
    }.items():
        (requirements / f"{layer}.in").write_text(f"{package}\n")
    (requirements / "overrides.in").touch()
    return checkout


def lock(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    uv = shutil.which("uv")
    assert uv, "uv is one of the host's tools: make venv"
    settings: Mapping[str, str] = {
        "PATH": f"{Path(uv).parent}:{os.environ['PATH']}",
        "HOME": str(project),
        "UV_OFFLINE": "1",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(project / "index"),
    }
    command = [sys.executable, str(project / "scripts" / "lock"), *arguments]
    return subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60)


def test_a_lock_that_is_current_stays_so(project: Path) -> None:
    first = lock(project)
    assert first.returncode == 0, first.stderr
    assert "nvidia-cublas==13.1.1" in (project / "requirements" / "cuda.txt").read_text()
    assert "--hash=sha256:" in (project / "requirements" / "host.txt").read_text()
    assert lock(project, "--check").stdout == "lock: up to date\n"


@pytest.mark.parametrize("broken", ["a hash", "a version", "a file", "an .in file"])
def test_check_notices_drift_and_writes_nothing(project: Path, broken: str) -> None:
    assert lock(project).returncode == 0
    science = project / "requirements" / "science.txt"
    if broken == "a hash":
        science.write_text(
            re.sub(r"sha256:\w", lambda found: found[0][:-1] + "0f"[found[0][-1] == "0"], science.read_text())
        )
    elif broken == "a version":
        science.write_text(science.read_text().replace("numpy==2.5.5", "numpy==2.5.4"))
    elif broken == "a file":
        science.unlink()
    else:
        (project / "requirements" / "science.in").write_text("numpy\nninja\n")
    before = science.read_text() if science.exists() else None
    checked = lock(project, "--check")
    assert checked.returncode == 1
    assert "science.txt" in checked.stderr
    assert "Run: make lock" in checked.stderr
    assert (science.read_text() if science.exists() else None) == before


def test_a_pin_that_still_fits_is_kept_until_an_upgrade_is_asked_for(project: Path) -> None:
    assert lock(project).returncode == 0
    wheel(project / "index", "numpy", "2.6.0")
    assert lock(project, "--check").returncode == 0
    assert lock(project, "--upgrade").returncode == 0
    assert "numpy==2.6.0" in (project / "requirements" / "science.txt").read_text()


def test_what_cannot_be_resolved_is_one_line_of_ours_and_changes_nothing(project: Path) -> None:
    assert lock(project).returncode == 0
    before = {file: file.read_text() for file in (project / "requirements").glob("*.txt")}
    (project / "requirements" / "science.in").write_text("numpy\nno-such-package\n")
    done = lock(project)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("lock: uv could not resolve")
    assert "Traceback" not in done.stderr
    assert {file: file.read_text() for file in before} == before
