"""compose/cluster.yml, as Compose itself reads it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster import cluster_as_shipped

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    command = ["docker", "compose", "--env-file", "/dev/null", "--file", "compose/cluster.yml", "config", "--format"]
    plain = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    read = subprocess.run([*command, "json"], cwd=ROOT, env=plain, capture_output=True, text=True, check=True)
    parsed: dict[str, Any] = json.loads(read.stdout)
    assert parsed["networks"]["nodes"]["internal"], "the nodes trust each other: nobody else may reach them"
    found: dict[str, Any] = parsed["services"]
    return found


def test_exactly_one_node_holds_the_store(services: dict[str, Any]) -> None:
    settings = {name: service["environment"] for name, service in services.items()}
    hosts = {name: "is_host=1" in given["PET_RDZV_CONF"] for name, given in settings.items()}
    assert hosts == {"head": True, "node": False}
    assert all(given["PET_RDZV_ENDPOINT"] == "head:29400" for given in settings.values())
    assert services["head"]["hostname"] == "head"


def test_nodes_differ_in_nothing_else(services: dict[str, Any]) -> None:
    head, node = ({**service, "environment": dict(service["environment"])} for service in services.values())
    for service in (head, node):
        service["environment"].pop("PET_RDZV_CONF")
    differing = {name for name in head.keys() | node.keys() if head.get(name) != node.get(name)}
    assert differing == {"hostname", "depends_on"}


def test_a_node_has_time_to_save_when_it_is_stopped(services: dict[str, Any]) -> None:
    assert all(service["stop_grace_period"] == "40s" for service in services.values())


def test_what_is_shipped_trains_an_example_on_all_nodes_and_ends(image: str, tmp_path: Path) -> None:
    """The command, volume and user of `make cluster` themselves, with a shorter job."""
    job = {"JOB": "examples run house_price --out /home/workstation/runs/cluster", "MIN_NODES": "2"}
    with cluster_as_shipped(image, tmp_path, **job) as made:
        made.run(nodes=2)
        exits = [made.docker("inspect", "--format", "{{.State.ExitCode}}", each) for each in made.containers]
        assert exits == ["0", "0"]
        report = json.loads(made.read("/home/workstation/runs/cluster/metrics.json"))
        assert (report["example"], report["processes"], report["holds"]) == ("house_price", 2, True)


def test_nothing_is_published_and_nothing_is_allowed_that_is_not_needed(services: dict[str, Any]) -> None:
    for service in services.values():
        assert "ports" not in service
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
