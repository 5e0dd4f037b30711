"""deploy/kubernetes: built by kustomize, judged by the API's own schemas, and by what must fit together."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from pod_security import violations
from throwaway import DEPLOY, ROOT, TOOLS, debian_package, require, run, venv


class Mistake(NamedTuple):
    root: str
    file: str
    right: str
    wrong: str


PAGE = ROOT / "docs" / "deploy" / "kubernetes.md"
TREE = DEPLOY / "kubernetes"
ROOTS = ["base", "overlays/gpu", "training", "overlays/training-gpu"]
BROKEN = [
    Mistake("base", "base/deployment.yaml", "readOnlyRootFilesystem", "readOnlyRootFileSystem"),
    Mistake("base", "base/deployment.yaml", "replicas: 1", "replicas: one"),
    Mistake("base", "base/volumes.yaml", "storage: 50Gi", "storage: [50Gi]"),
    Mistake("base", "base/network-policy.yaml", "policyTypes:", "policyType:"),
    Mistake("training", "training/job.yaml", "subdomain:", "subDomain:"),
]
Manifest = dict[str, Any]


@functools.cache
def kustomize() -> tuple[str, ...]:
    """The program, or kubectl, which holds it; Debian's package where neither is there."""
    for command in (("kustomize", "build"), ("kubectl", "kustomize")):
        if shutil.which(command[0]):
            return command
    return (str(debian_package("kustomize") / "usr" / "bin" / "kustomize"), "build")


@functools.cache
def objects(root: str) -> tuple[Manifest, ...]:
    return tuple(yaml.safe_load_all(require(*kustomize(), TREE / root)))


def the(kind: str, root: str) -> Manifest:
    (found,) = [manifest for manifest in objects(root) if manifest["kind"] == kind]
    return found


def workload(root: str) -> Manifest:
    return the("Job" if "training" in root else "Deployment", root)


def pod(root: str) -> Manifest:
    spec: Manifest = workload(root)["spec"]["template"]["spec"]
    return spec


def container(root: str) -> Manifest:
    (only,) = pod(root)["containers"]
    return dict(only)


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What `kubernetes-validate --strict` says against each root, shipped and broken; it starts slowly, so once."""
    folder = tmp_path_factory.mktemp("built")
    trees = {root: TREE / root for root in ROOTS}
    for mistake in BROKEN:
        trees[mistake.wrong] = (
            broken_tree(folder / mistake.wrong, mistake.file, mistake.right, mistake.wrong) / mistake.root
        )
    files = {name: folder / f"{number}.yaml" for number, name in enumerate(trees)}
    for name, file in files.items():
        file.write_text(require(*kustomize(), trees[name]))
    judged = run(venv("checks", TOOLS / "checks.txt") / "kubernetes-validate", "--strict", *files.values()).stdout
    assert all(f"INFO {file} passed" in judged for file in files.values()), judged
    errors = [line for line in judged.splitlines() if line.startswith("ERROR")]
    return {name: [line for line in errors if f" {file} " in line] for name, file in files.items()}


@pytest.mark.parametrize("root", ROOTS)
def test_every_manifest_fits_its_schema(refusals: dict[str, list[str]], root: str) -> None:
    assert refusals[root] == []


@pytest.mark.parametrize("wrong", [mistake.wrong for mistake in BROKEN])
def test_a_broken_manifest_is_refused(refusals: dict[str, list[str]], wrong: str) -> None:
    (line,) = refusals[wrong]
    assert "did not validate" in line


def test_a_script_that_is_missing_is_refused(tmp_path: Path) -> None:
    tree = broken_tree(tmp_path, "training/kustomization.yaml", "all_reduce.py", "missing.py")
    assert run(*kustomize(), tree / "training").returncode != 0


def test_a_patch_that_finds_nothing_leaves_the_gpu_out(tmp_path: Path) -> None:
    """kustomize says nothing of it, so that the limit itself is looked for below."""
    target = "kind: Deployment\n      name: workstation"
    broken = broken_tree(tmp_path, "overlays/gpu/kustomization.yaml", target, f"{target}s")
    assert "nvidia.com/gpu" not in require(*kustomize(), broken / "overlays/gpu")


def broken_tree(scratch: Path, file: str, right: str, wrong: str) -> Path:
    copy = scratch / "kubernetes"
    shutil.copytree(TREE, copy)  # the overlays lead to the bases by relative paths
    text = (copy / file).read_text()
    assert right in text
    (copy / file).write_text(text.replace(right, wrong))
    return copy


@pytest.mark.parametrize("root", ROOTS)
def test_a_restricted_namespace_takes_the_pods(root: str) -> None:
    labels = the("Namespace", root)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert list(violations(pod(root))) == []
    assert pod(root)["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}, "volume root: hostPath"),
        ({"securityContext": {"runAsNonRoot": True}}, "container a: no seccomp profile"),
        ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, "container a: may run as root"),
        ({"containers": [{"name": "a"}]}, "container a: may gain privileges"),
        ({"containers": [{"name": "a", "securityContext": {"privileged": True}}]}, "container a: privileged"),
        ({"containers": [{"name": "a", "securityContext": {}}]}, "container a: keeps capabilities"),
        ({"containers": [{"name": "a", "ports": [{"hostPort": 1}]}]}, "container a: binds a port of the node"),
    ],
)
def test_what_the_restricted_profile_forbids_is_seen(broken: Manifest, named: str) -> None:
    fine = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {"name": "a", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
        ],
    }
    assert list(violations(fine)) == []
    assert named in list(violations({**fine, **broken}))


@pytest.mark.parametrize("root", ROOTS)
def test_a_gpu_is_asked_for_where_the_overlay_says_so(root: str) -> None:
    gpus = container(root)["resources"]["limits"].get("nvidia.com/gpu", 0)
    assert gpus == (1 if "gpu" in root else 0)
    tolerated = [toleration["key"] for toleration in pod(root).get("tolerations", [])]
    assert tolerated == (["nvidia.com/gpu"] if "gpu" in root else [])


@pytest.mark.parametrize("root", ROOTS)
def test_shared_memory_is_enough_for_data_loader_workers(root: str) -> None:
    (name,) = [mount["name"] for mount in container(root)["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
    (volume,) = [volume for volume in pod(root)["volumes"] if volume["name"] == name]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}


@pytest.mark.parametrize("root", ROOTS)
def test_the_image_is_one_name_to_change(root: str) -> None:
    assert container(root)["image"] == "registry.example.com/torch-workstation:0.1.0"


def test_nobody_in_the_cluster_reaches_the_lab() -> None:
    policy = the("NetworkPolicy", "base")["spec"]
    labels = workload("base")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert "Ingress" in policy["policyTypes"]
    assert not policy.get("ingress")
    assert not [manifest for manifest in objects("base") if manifest["kind"] in ("Service", "Ingress")]


@pytest.mark.parametrize("root", ["base", "training"])
def test_the_metadata_service_is_out_of_reach(root: str) -> None:
    policy = the("NetworkPolicy", root)["spec"]
    blocks = [to["ipBlock"] for rule in policy["egress"] for to in rule.get("to", []) if "ipBlock" in to]
    assert "Egress" in policy["policyTypes"]
    closed = next(block for block in blocks if block["cidr"] == "0.0.0.0/0")["except"]
    assert {"169.254.0.0/16", "168.63.129.16/32"} <= set(closed), "the second is Azure's, and a public address"


def test_the_token_comes_as_a_file_that_the_pod_waits_for() -> None:
    """A token from a variable, or made at the start, is printed; the role `view` may read logs and no Secrets."""
    file = Path(environment("base")["JUPYTER_TOKEN_FILE"])
    (name,) = [mount["name"] for mount in container("base")["volumeMounts"] if mount["mountPath"] == str(file.parent)]
    (secret,) = [volume["secret"] for volume in pod("base")["volumes"] if volume["name"] == name]
    assert not secret.get("optional")
    assert secret["defaultMode"] == 0o440, "the container's user is in fsGroup, and in no other group of the file"
    assert "JUPYTER_TOKEN" not in {entry["name"] for entry in container("base")["env"]}
    assert f"generic {secret['secretName']} --from-file={file.name}=" in PAGE.read_text()


@pytest.mark.parametrize("root", ROOTS)
def test_a_pod_without_a_gpu_sees_none(root: str) -> None:
    """The image asks for all, which NVIDIA's runtime heeds; a pod's own value would override the device plugin's."""
    assert environment(root).get("NVIDIA_VISIBLE_DEVICES") == (None if "gpu" in root else "void")


def test_a_lab_that_is_busy_is_not_killed() -> None:
    """As long as the start may take; being sent no requests, which readiness does, costs nothing."""
    liveness = container("base")["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 300
    assert liveness["timeoutSeconds"] > container("base")["readinessProbe"]["timeoutSeconds"]


def test_the_pages_own_overlay_names_the_image_and_the_registrys_secret(tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "kustomization.yaml"
    mine.parent.mkdir()
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    mine.write_text(PAGE.read_text().partition("```yaml\n")[2].partition("```")[0])
    made = list(yaml.safe_load_all(require(*kustomize(), mine.parent)))
    (spec,) = [manifest["spec"]["template"]["spec"] for manifest in made if manifest["kind"] == "Deployment"]
    assert spec["containers"][0]["image"] == "YOUR-REGISTRY/torch-workstation:0.1.0"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert "create secret docker-registry registry --" in " ".join(PAGE.read_text().split())


def test_the_nodes_of_a_job_find_and_reach_each_other() -> None:
    job, service, policy = (the(kind, "training") for kind in ("Job", "Service", "NetworkPolicy"))
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert job["spec"]["completionMode"] == "Indexed"
    assert service["spec"]["clusterIP"] == "None"
    assert pod("training")["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= labels.items()
    for selector in (policy["spec"]["podSelector"], policy["spec"]["ingress"][0]["from"][0]["podSelector"]):
        assert selector["matchLabels"].items() <= labels.items()
    rendezvous = environment()["RENDEZVOUS"].partition(":")[0]
    assert rendezvous == f"{job['metadata']['name']}-0.{service['metadata']['name']}"


def test_torchrun_waits_for_as_many_nodes_as_the_job_starts() -> None:
    job = the("Job", "training")["spec"]
    assert environment()["NNODES"] == str(job["completions"]) == str(job["parallelism"])


@pytest.mark.parametrize("root", ["training", "overlays/training-gpu"])
def test_a_node_of_a_job_has_time_to_save_and_no_more_threads_than_cpus(root: str) -> None:
    assert pod(root)["terminationGracePeriodSeconds"] > 30, "torchrun's own patience with its workers"
    assert environment(root)["OMP_NUM_THREADS"] == container(root)["resources"]["requests"]["cpu"]


def environment(root: str = "training") -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container(root)["env"] if "value" in entry}


def test_each_gpu_gets_a_process() -> None:
    on_the_cpu = environment()
    del on_the_cpu["NVIDIA_VISIBLE_DEVICES"]
    assert environment("overlays/training-gpu") == on_the_cpu | {"NPROC_PER_NODE": "gpu"}
