"""docker-compose.yml, as Compose itself reads it: what it binds, what it hands over, what it takes away."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PLAIN = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


def service(*files: str, **settings: str) -> dict[str, Any]:
    """With no .env and nothing of this shell: what a fresh clone gets."""
    arguments = [word for file in ("docker-compose.yml", *files) for word in ("--file", file)]
    command = ["docker", "compose", "--env-file", "/dev/null", *arguments, "config", "--format", "json"]
    read = subprocess.run(command, cwd=ROOT, env=PLAIN | settings, capture_output=True, text=True, check=True)
    parsed: dict[str, Any] = json.loads(read.stdout)["services"]["workstation"]
    return parsed


def test_the_lab_is_published_on_the_loopback_alone() -> None:
    assert [(port["host_ip"], port["published"]) for port in service()["ports"]] == [("127.0.0.1", "8888")]


def test_the_port_is_the_one_that_was_set() -> None:
    moved = service(PORT="9000")
    assert moved["ports"][0]["published"] == "9000"
    assert moved["environment"]["WORKSTATION_PUBLISHED_PORT"] == "9000", "the printed link must be right too"


def test_nothing_is_allowed_that_is_not_needed() -> None:
    assert service()["cap_drop"] == ["ALL"]
    assert service()["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service()


def test_shared_memory_is_enough_for_data_loader_workers() -> None:
    assert int(service()["shm_size"]) >= 2**30


def test_the_log_cannot_fill_the_disk() -> None:
    assert service()["logging"] == {"driver": "local"}, "json-file, the default, keeps every line for ever"


def test_home_and_caches_are_volumes_of_their_own() -> None:
    mounts = {mount["target"]: (mount["type"], mount["source"]) for mount in service()["volumes"]}
    assert mounts == {"/home/workstation": ("volume", "home"), "/cache": ("volume", "cache")}


def test_no_gpu_is_asked_for_unless_the_overlay_is_named() -> None:
    assert "deploy" not in service()
    assert "devices" not in service()


@pytest.mark.parametrize(("overlay", "where"), [("compose/gpu.yml", "deploy"), ("compose/gpu-cdi.yml", "devices")])
def test_the_overlays_hand_over_every_gpu(overlay: str, where: str) -> None:
    with_gpu = service(overlay)
    handed = {
        "deploy": lambda: with_gpu["deploy"]["resources"]["reservations"]["devices"][0]["count"] in (-1, "all"),
        "devices": lambda: "nvidia.com/gpu=all" in json.dumps(with_gpu["devices"]),
    }
    assert handed[where]()
    assert with_gpu["shm_size"] == service()["shm_size"], "the overlay takes nothing away"
