"""The pods' own settings, commands and probes, on Docker: what a kubelet would start, as far as one machine can.

Not run here: a cluster, its network policies, a GPU.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container
from docker.models.networks import Network
from lab import TOKEN, lab, run, wait_for
from test_kubernetes import TREE, container, environment, pod, the
from testcontainers.core.docker_client import DockerClient

JOB_DEADLINE_S = 180


def as_docker_says(root: str) -> dict[str, Any]:
    """The pod's security context and volumes. A claim belongs to fsGroup, an emptyDir to everyone."""
    of_pod, own = pod(root)["securityContext"], container(root)["securityContext"]
    kinds = {volume["name"]: next(key for key in volume if key != "name") for volume in pod(root)["volumes"]}
    group = of_pod.get("fsGroup", 0)
    modes = {"persistentVolumeClaim": f"exec,uid=0,gid={group},mode=2775", "emptyDir": "exec,mode=0777"}
    mounts = {mount["mountPath"]: kinds[mount["name"]] for mount in container(root)["volumeMounts"]}
    mounted = {path: modes[kind] for path, kind in mounts.items() if path != "/dev/shm" and kind in modes}
    return {
        "user": f"{of_pod['runAsUser']}:{of_pod['runAsGroup']}",
        "group_add": [str(group)],
        "read_only": own["readOnlyRootFilesystem"],
        "cap_drop": own["capabilities"]["drop"],
        "security_opt": [] if own["allowPrivilegeEscalation"] else ["no-new-privileges:true"],
        "shm_size": "2g",
        "tmpfs": mounted,
    }


def test_the_workstations_pod_settings_boot_the_lab_and_its_probe_is_right(image: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o444)  # a kubelet gives it to fsGroup, which a test that is not root cannot
    given: dict[str, str | None] = {**environment("base"), "JUPYTER_TOKEN": None}
    secret = [(str(token), environment("base")["JUPYTER_TOKEN_FILE"], "ro")]
    probes = [container("base")[f"{name}Probe"]["exec"]["command"] for name in ("startup", "readiness", "liveness")]
    assert probes[0] == probes[1] == probes[2]
    with lab(image, environment=given, volumes=secret, **as_docker_says("base")) as started:
        assert started.get("api/contents/notebooks").json()["content"], "the notebooks are laid out"
        assert TOKEN not in started.container.logs().decode(), "clusters keep what a pod prints"
        assert started.run(*probes[0]).code == 0
        started.run("pkill", "-STOP", "-f", "jupyter-lab")
        assert started.run(*probes[0]).code == 1, "a server that hangs"


@pytest.fixture
def network() -> Iterator[Network]:
    made = DockerClient().client.networks.create(f"torch-workstation-test-{uuid.uuid4().hex[:8]}", driver="bridge")
    yield made
    made.remove()


def start_node(image: str, network: Network, index: int, given: Mapping[str, str]) -> Container:
    """Pod `index` of the Job: its name, its number and its address are the kubelet's to give."""
    name = f"{the('Job', 'training')['metadata']['name']}-{index}"
    client = DockerClient().client
    aliases = client.api.create_endpoint_config(aliases=[f"{name}.{pod('training')['subdomain']}"])
    return client.containers.run(
        image,
        ["bash", "-c", 'POD_IP=$(hostname -i) exec "$@"', "--", *container("training")["args"]],
        hostname=name,
        network=network.name,
        networking_config={network.name: aliases},
        environment={**given, "JOB_COMPLETION_INDEX": str(index)},
        volumes={str(TREE / "training" / "all_reduce.py"): {"bind": "/training/all_reduce.py", "mode": "ro"}},
        detach=True,
        **as_docker_says("training"),
    )


def test_the_job_forms_across_two_pods_whichever_starts_first(image: str, network: Network) -> None:
    nodes = []
    try:
        nodes.append(start_node(image, network, 1, environment()))
        looking = "/opt/venv/bin/python"
        wait_for(lambda: looking in running(nodes[0]), "torchrun looks for its peer", container=nodes[0], deadline_s=60)
        nodes.append(start_node(image, network, 0, environment()))
        ended = [node.wait(timeout=JOB_DEADLINE_S)["StatusCode"] for node in nodes]
        said = "\n".join(node.logs().decode() for node in nodes)
        assert ended == [0, 0], said
        assert "2 ranks on cpu: the sum is right" in said, said
    finally:
        for node in nodes:
            node.remove(force=True)


def running(node: Container) -> str:
    return str(node.top())


WRONG_SUM = """
import runpy, torch.distributed as dist
dist.all_reduce = lambda tensor: tensor.add_(1)
runpy.run_path("/training/all_reduce.py", run_name="__main__")
"""


def test_a_sum_that_is_wrong_fails_the_job(image: str) -> None:
    script = TREE / "training" / "all_reduce.py"
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29400"}
    ended = run(
        image,
        *("python", "-c", WRONG_SUM),
        environment={**alone, "GLOO_SOCKET_IFNAME": "lo"},
        network_mode="none",
        volumes={str(script): {"bind": "/training/all_reduce.py", "mode": "ro"}},
    )
    assert ended.code == 1, ended.output
    assert "WRONG" in ended.output
