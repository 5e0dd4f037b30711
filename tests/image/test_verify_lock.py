"""The build's own check fails on every kind of drift it is there for."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import Ran, run

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = ("cuda.txt", "torch.txt", "science.txt", "jupyter.txt")


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(ROOT / "requirements" / name, tmp_path)
    tmp_path.chmod(0o755)
    return tmp_path


def verify(image: str, requirements: Path) -> Ran:
    mounts = {
        str(requirements): {"bind": "/requirements", "mode": "ro"},
        str(ROOT / "docker" / "verify-lock"): {"bind": "/verify-lock", "mode": "ro"},
    }
    return run(image, "python", "/verify-lock", *(f"/requirements/{name}" for name in FILES), volumes=mounts)


def test_the_image_is_what_the_lock_says(image: str, requirements: Path) -> None:
    verified = verify(image, requirements)
    assert verified.code == 0, verified.output


@dataclass(frozen=True)
class Drift:
    file: str
    pattern: str
    replacement: str
    says: str


DRIFTS = [
    Drift("science.txt", r"^pandas==\S+", "pandas==1.0.0", "pandas is"),
    Drift("cuda.txt", r"^cuda-toolkit==\S+", "cuda-toolkit==12.8.1.0", "torch.version.cuda is 13.0"),
    Drift("cuda.txt", r"^nvidia-cudnn-cu13==\S+", "nvidia-cudnn-cu13==9.10.2.21", "the loaded cuDNN is"),
    Drift("cuda.txt", r"^nvidia-nccl-cu13==\S+", "nvidia-nccl-cu13==2.1.0", "the loaded NCCL is"),
    Drift("torch.txt", r"^torchvision==\S+", "torchvision==0.29.2", "torchvision is"),
    Drift("jupyter.txt", r"^jupyterlab==\S+", "no-such-package==1.0", "no-such-package 1.0 is missing"),
]


@pytest.mark.parametrize("drift", DRIFTS, ids=[drift.says for drift in DRIFTS])
def test_drift_is_noticed(image: str, requirements: Path, drift: Drift) -> None:
    lock = requirements / drift.file
    changed, count = re.subn(drift.pattern, drift.replacement, lock.read_text(), flags=re.MULTILINE)
    assert count == 1
    lock.write_text(changed)
    verified = verify(image, requirements)
    assert verified.code == 1
    assert drift.says in verified.output
    assert "Traceback" not in verified.output
