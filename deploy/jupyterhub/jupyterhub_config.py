"""A JupyterHub on one machine that gives each person the image, with a home of their own (docs/deploy/jupyterhub.md).

The Hub runs on the host, beside Docker. Who may log in is not said here, and so nobody may: load this from a file of
your own, and choose an authenticator there.
"""

import os
import sys
from pathlib import Path

import docker

c = get_config()  # noqa: F821 (JupyterHub runs this file with it in scope)

IMAGE = os.environ.get("IMAGE", "torch-workstation:local")
NETWORK = os.environ.get("NETWORK", "torch-workstation-hub")
engine = docker.from_env()


def gateway() -> str:
    """The host's address on the people's own network, made when first needed. One that lets them meet is refused."""
    # Without traffic between containers: each person's server talks to the Hub and to the world, not to the others.
    options = {"com.docker.network.bridge.enable_icc": "false"}
    # Docker's own filter takes a part of a name for the name.
    found = [network for network in engine.networks.list(names=[NETWORK]) if network.name == NETWORK]
    network = found[0] if found else engine.networks.create(NETWORK, driver="bridge", options=options)
    network.reload()
    if not options.items() <= (network.attrs["Options"] or {}).items():
        sys.exit(
            f"on the network {NETWORK} containers reach each other. Start again after: docker network rm {NETWORK}"
        )
    return str(network.attrs["IPAM"]["Config"][0]["Gateway"])


# The front door: the loopback alone. From elsewhere by an SSH tunnel, or by a proxy with TLS on this machine.
c.JupyterHub.bind_url = "http://127.0.0.1:8000"
# The Hub's own interface is for the containers, on their network.
c.JupyterHub.hub_ip = gateway()
c.JupyterHub.hub_port = 8081

c.JupyterHub.spawner_class = "docker"
c.DockerSpawner.image = IMAGE
c.DockerSpawner.cmd = ["jupyterhub-singleuser"]  # the image names no command; its entry point knows this one
c.DockerSpawner.network_name = NETWORK
c.DockerSpawner.use_internal_ip = False  # the proxy runs on the host: it comes through a port of the loopback
c.DockerSpawner.host_ip = "127.0.0.1"
c.DockerSpawner.remove = True  # what is to stay is in the volumes
# A home and a cache a person: models and compiled kernels. The dot keeps them apart: in an escaped name there is none.
c.DockerSpawner.volumes = {
    "torch-workstation-{username}": "/home/workstation",
    "torch-workstation-{username}.cache": "/cache",
}
c.DockerSpawner.default_url = "/lab"
c.DockerSpawner.mem_limit = os.environ.get("MEMORY", "16G")
c.DockerSpawner.extra_host_config = {
    "shm_size": "2g",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "ulimits": [docker.types.Ulimit(name="nofile", soft=16384, hard=16384)],
}
# Every server sees every GPU of the machine: people share them, and their memory.
if Path("/proc/driver/nvidia/version").exists():
    gpus = docker.types.DeviceRequest(count=-1, capabilities=[["gpu"]])
    c.DockerSpawner.extra_host_config["device_requests"] = [gpus]
c.Spawner.start_timeout = 120
