"""SkyPilot tasks as SkyPilot itself reads them, as JSON by file. Runs in SkyPilot's own venv: read_task.py FILE…"""

from __future__ import annotations

import json
import sys
from typing import Any

import sky


def read(file: str) -> dict[str, Any]:
    try:
        task = sky.Task.from_yaml(file)
    except Exception as error:
        return {"refused": str(error)}
    (resources,) = task.resources
    return {
        "nodes": task.num_nodes,
        "image": resources.extract_docker_image(),  # None where the name lacks `docker:`
        "accelerators": resources.accelerators,
        "run_options": resources.cluster_config_overrides["docker"]["run_options"],
        "file_mounts": task.file_mounts,
        "setup": task.setup,
        "run": task.run,
    }


print(json.dumps({file: read(file) for file in sys.argv[1:]}))
