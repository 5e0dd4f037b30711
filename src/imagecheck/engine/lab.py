"""Everything that is started for one image, and its removal."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.models.networks import Network
from docker.models.volumes import Volume
from docker.types import DeviceRequest
from testcontainers.core.container import DockerContainer

from imagecheck.engine import interpreter, probe_volume, reaper
from imagecheck.engine.boots import Boot
from imagecheck.engine.connection import SECONDS_TO_ANSWER, is_local
from imagecheck.engine.container import Booted, ProbeError, wait_for_keeper
from imagecheck.engine.image import Image

SCRATCH = {"/tmp": "rw,exec,nosuid,mode=1777"}  # exec: Inductor loads what it compiles there; Docker says noexec
# What Docker says without NVIDIA's toolkit, the toolkit without a driver that is new enough, and CDI without devices.
SIGNS_OF_NO_GPUS = ("device driver", "nvidia-container-cli", "CDI device")
NO_GPUS = "install or update NVIDIA's driver and Container Toolkit on the host, or --gpu off"


@dataclass(frozen=True)
class Start:
    """How one container is started. `isolation` holds docker-py's own arguments; None there means the default."""

    name: str
    entrypoint: Sequence[str] | None = None
    command: Sequence[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[int, ...] = ()
    network: Network | None = None
    alias: str = ""
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    isolation: Mapping[str, object] = field(default_factory=dict)


class Lab:
    """Starts containers of one image and removes them all at its end; with `keep`, names them instead."""

    def __init__(self, client: docker.DockerClient, image: Image, *, shm_size: int, gpus: bool, keep: bool) -> None:
        self.client = client
        self.image = image
        self.run = f"imagecheck-{secrets.token_hex(4)}"
        self.kept: tuple[str, ...] = ()
        self.entry_point_used: bool | None = None  # whether it runs a command it is given; unknown before a boot
        self._shm_size = shm_size
        self._gpus = gpus
        self._keep = keep
        self._labels = reaper.labels(self.run, kept=keep)
        self._containers: list[DockerContainer] = []
        self._networks: list[Network] = []
        self._volume: Volume | None = None

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was started. Twice is once."""
        if self._keep:
            self.kept = tuple(self._removals())
            return
        while self._containers:
            self.remove(self._containers[-1])
        for network in self._networks:
            network.remove()
        self._networks.clear()
        if self._volume is not None:
            self._volume.remove(force=True)
            self._volume = None

    def _removals(self) -> Iterator[str]:
        """The commands that remove what is kept."""
        if self._containers:
            names = (str(spec.get_wrapped_container().name) for spec in self._containers)
            yield f"docker rm --force --volumes {' '.join(names)}"
        for network in self._networks:
            yield f"docker network rm {network.name}"
        if self._volume is not None:
            yield f"docker volume rm {self.run}"

    def remove(self, spec: DockerContainer) -> None:
        self._containers.remove(spec)
        try:
            spec.stop()
        except (NotFound, APIError):  # somebody else removed it: that is what was wanted
            return

    def find_python(self, more: Sequence[str] = ()) -> str | None:
        """The path of the first Python that finds torch; `more` are paths to try after the usual ones.

        Raises:
            ProbeError: the host cannot hand its GPUs over.
        """
        carrier = self.client.containers.create(self.image.id, command=["-"], labels=self._labels)
        try:
            paths = interpreter.candidates(self.image.environment)
            pythons = interpreter.present(carrier, dict.fromkeys((*paths, *more)))
        finally:
            carrier.remove(v=True)
        return interpreter.first_with_torch(pythons, self._has_torch)

    def _has_torch(self, python: str) -> bool:
        try:
            spec = self._start(Start("search", entrypoint=[python], command=["-c", interpreter.HAS_TORCH]))
        except ProbeError as error:
            if error.remedy:  # the host's fault, whatever is started
                raise
            return False  # a script that is no interpreter, or one for another machine
        container = spec.get_wrapped_container()
        try:
            return bool(container.wait(timeout=60)["StatusCode"] == 0)
        except (DockerException, OSError):
            return False
        finally:
            self.remove(spec)

    def boot(self, boot: Boot, python: str, *, network: Network | None = None, alias: str = "") -> Booted:
        """A container that stays up for probes, isolated as `boot` says, in the environment its entry point makes.

        The first boot tries the entry point; an image whose entry point runs no command is probed without it.

        Raises:
            ProbeError: it could not be started, or ended at once.
        """
        keeper = [python, f"{probe_volume.MOUNT}/keep.py", str(reaper.LIFETIME)]
        isolation = {
            "user": boot.user,
            "read_only": boot.read_only or None,
            "network_mode": "none" if boot.offline else None,
            "cap_drop": ["ALL"] if boot.user else None,
        }
        start = Start(alias or boot.name, command=keeper, network=network, alias=alias, isolation=isolation)
        if boot.read_only:
            start = replace(start, tmpfs=SCRATCH)
        first = self.entry_point_used is None
        if self.entry_point_used is not False:
            spec = self._start(start)
            try:
                booted = wait_for_keeper(spec.get_wrapped_container())
            except ProbeError:
                if not first:
                    raise
                self.remove(spec)
            else:
                self.entry_point_used = True
                return booted
        spec = self._start(replace(start, entrypoint=keeper[:1], command=keeper[1:]))
        booted = wait_for_keeper(spec.get_wrapped_container())
        self.entry_point_used = False
        return booted

    def serve(self, environment: Mapping[str, str], ports: Sequence[int], *, tty: bool = False) -> DockerContainer:
        """The image as its maker meant it: own entrypoint, own command, own user; `ports` published."""
        terminal = {"tty": tty, "stdin_open": tty}
        return self._start(Start("service", environment=environment, ports=tuple(ports), isolation=terminal))

    def new_network(self) -> Network:
        network = self.client.networks.create(
            f"{self.run}-{len(self._networks)}", driver="bridge", internal=True, labels=self._labels
        )
        self._networks.append(network)
        return network

    def _start(self, start: Start) -> DockerContainer:
        if self._volume is None:
            self._volume = probe_volume.make_volume(self.client, self.image.id, self.run, self._labels)
        spec = DockerContainer(self.image.id, docker_client_kw={"timeout": SECONDS_TO_ANSWER})
        spec.with_name(f"{self.run}-{start.name}-{secrets.token_hex(2)}")
        if start.command is not None:
            spec.with_command(list(start.command))
        # Published on the loopback alone where that is reachable: a server under test may have no token.
        where = "127.0.0.1" if is_local(self.client) else "0.0.0.0"
        published: dict[str, Any] = {f"{port}/tcp": (where, None) for port in start.ports}
        spec.ports.update(published)
        spec.env.update(start.environment)
        spec.env.update({} if self._gpus else {"NVIDIA_VISIBLE_DEVICES": "void"})
        spec.volumes[self.run] = {"bind": probe_volume.MOUNT, "mode": "ro"}
        spec.tmpfs.update(start.tmpfs)
        chosen: dict[str, object] = {key: value for key, value in start.isolation.items() if value is not None}
        if self._gpus:
            chosen["device_requests"] = [DeviceRequest(count=-1, capabilities=[["gpu"]])]
        if start.entrypoint is not None:
            chosen["entrypoint"] = list(start.entrypoint)
        if start.network is not None:
            endpoint = self.client.api.create_endpoint_config(aliases=[start.alias])
            chosen |= {"network": start.network.name, "networking_config": {start.network.name: endpoint}}
        # All at once: with_kwargs replaces what an earlier call gave.
        spec.with_kwargs(labels=self._labels, shm_size=self._shm_size, **chosen)
        self._containers.append(spec)
        try:
            spec.start()
        except (APIError, NotFound) as error:
            self.remove(spec)
            told = str(error.explanation)
            remedy = NO_GPUS if any(sign in told for sign in SIGNS_OF_NO_GPUS) else ""
            raise ProbeError(f"the container could not be started: {told}", remedy=remedy) from error
        return spec
