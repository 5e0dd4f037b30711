"""The pod of each profile in Zero to JupyterHub's values, as KubeSpawner makes it: spawn_pod.py VALUES. One JSON list.

The chart's own code sets the traits below from the values of `singleuser`; the profiles' overrides are traits already.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from jupyterhub.objects import Hub
from kubernetes_asyncio.client import ApiClient
from kubespawner import KubeSpawner
from kubespawner import spawner as kubespawner

singleuser = yaml.safe_load(Path(sys.argv[1]).read_text())["singleuser"]
home = "volume-{user_server}"  # the chart's default name
storage = singleuser["storage"]
traits = {
    "image": "{name}:{tag}".format(**singleuser["image"]),
    "cmd": [singleuser["cmd"]],
    "default_url": singleuser["defaultUrl"],
    "start_timeout": singleuser["startTimeout"],
    "uid": singleuser["uid"],
    "fs_gid": singleuser["fsGid"],
    "allow_privilege_escalation": singleuser["allowPrivilegeEscalation"],
    "mem_guarantee": singleuser["memory"]["guarantee"],
    "mem_limit": singleuser["memory"]["limit"],
    "cpu_guarantee": singleuser["cpu"]["guarantee"],
    "volumes": [{"name": home, "persistentVolumeClaim": {"claimName": "{pvc_name}"}}, *storage["extraVolumes"]],
    "volume_mounts": [{"name": home, "mountPath": storage["homeMountPath"]}, *storage["extraVolumeMounts"]],
}


async def pod(override: dict[str, Any]) -> Any:
    unknown = [name for name in {**traits, **override} if not KubeSpawner.class_traits().get(name)]
    if unknown:
        sys.exit(f"not a trait of KubeSpawner: {unknown}")
    spawner = KubeSpawner(_mock=True, hub=Hub(), **{**traits, **override})
    spawner.api_token, spawner.server = "a-token", None
    return ApiClient().sanitize_for_serialization(await spawner.get_pod_manifest())


async def pods() -> list[Any]:
    return [await pod(profile.get("kubespawner_override", {})) for profile in singleuser["profileList"]]


kubespawner.load_config = lambda *_, **__: None  # there is no cluster to log in to
print(json.dumps(asyncio.run(pods())))
