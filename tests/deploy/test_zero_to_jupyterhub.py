"""Values for the Zero to JupyterHub chart: the pods that KubeSpawner makes of them fit the API's schema.

Not run here: the chart itself, which no package index offers, and a cluster.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import yaml
from throwaway import DEPLOY, ROOT, TOOLS, run, venv

PAGE = ROOT / "docs" / "deploy" / "jupyterhub.md"
VALUES = DEPLOY / "jupyterhub" / "zero-to-jupyterhub.yaml"
Pod = dict[str, Any]


def spawn(values: Path) -> tuple[bool, str]:
    made = run(venv("checks", TOOLS / "checks.txt") / "python", TOOLS / "spawn_pod.py", values)
    return made.returncode == 0, made.stdout


@functools.cache
def pods() -> list[Pod]:
    """On the CPU, and with a GPU."""
    made, said = spawn(VALUES)
    assert made, said
    read: list[Pod] = json.loads(said.splitlines()[-1])
    return read


def test_the_pods_fit_their_schema(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.yaml", tmp_path / "wrong.yaml"
    right.write_text(yaml.safe_dump_all(pods()))
    wrong.write_text(right.read_text().replace("sizeLimit", "sizeLimits"))
    judged = run(venv("checks", TOOLS / "checks.txt") / "kubernetes-validate", "--strict", right, wrong).stdout
    assert judged.count(f"INFO {right} passed") == len(pods()), judged
    assert judged.count(f"ERROR {wrong} did not validate") == len(pods()), judged


def test_the_images_own_entry_point_meets_the_hub() -> None:
    """A `command` would replace it; as an argument it knows the single-user server by this name."""
    for pod in pods():
        (container,) = pod["spec"]["containers"]
        assert "command" not in container
        assert container["args"] == ["jupyterhub-singleuser"]
        assert container["securityContext"] == {"runAsUser": 1000, "allowPrivilegeEscalation": False}


def test_one_profile_asks_for_a_gpu() -> None:
    limits = [pod["spec"]["containers"][0]["resources"]["limits"] for pod in pods()]
    assert [limit.get("nvidia.com/gpu") for limit in limits] == [None, "1"]


def test_the_profile_without_a_gpu_sees_none() -> None:
    """The image asks for all; a value of the pod's own would override the device plugin's where a GPU was asked for."""
    given = [{entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]} for pod in pods()]
    assert [environment.get("NVIDIA_VISIBLE_DEVICES") for environment in given] == ["void", None]


def test_home_and_cache_outlive_the_pod() -> None:
    for pod in pods():
        (container,) = pod["spec"]["containers"]
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        (claim,) = [volume["name"] for volume in pod["spec"]["volumes"] if "persistentVolumeClaim" in volume]
        assert {mounts["/home/workstation"]["name"], mounts["/cache"]["name"]} == {claim}
        assert mounts["/cache"]["subPath"]


def test_neither_metadata_service_is_within_reach() -> None:
    """The chart's own rule for the internet knows one of them, and has to be off: rules add up."""
    policy = yaml.safe_load(VALUES.read_text())["singleuser"]["networkPolicy"]
    assert policy["egressAllowRules"] == {"nonPrivateIPs": False}
    ((to,),) = [rule["to"] for rule in policy["egress"]]
    assert {"169.254.0.0/16", "168.63.129.16/32"} <= set(to["ipBlock"]["except"])


def test_the_chart_is_of_the_version_that_the_values_were_written_for() -> None:
    (in_values,) = re.findall(r"chart (\d+\.\d+\.\d+)", VALUES.read_text())
    assert re.findall(r"--version (\S+)", VALUES.read_text() + PAGE.read_text()) == [in_values, in_values]


def test_a_profile_with_a_misspelled_setting_is_seen(tmp_path: Path) -> None:
    broken = tmp_path / "values.yaml"
    broken.write_text(VALUES.read_text().replace("extra_resource_limits", "extra_resources_limits"))
    made, said = spawn(broken)
    assert not made
    assert "extra_resources_limits" in said
