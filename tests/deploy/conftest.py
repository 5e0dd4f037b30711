"""What the tests of a VM share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from throwaway import DEPLOY


@pytest.fixture(scope="session")
def user_data() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((DEPLOY / "cloud-init.yaml").read_text())
    return parsed


@pytest.fixture(scope="session")
def vm(user_data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What cloud-init's `write_files` lays down, under a folder that stands for `/`."""
    root = tmp_path_factory.mktemp("vm")
    for file in user_data["write_files"]:
        path = root / file["path"].removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"])
        path.chmod(int(file["permissions"], 8))
    return root
