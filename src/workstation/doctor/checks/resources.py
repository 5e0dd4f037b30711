"""Memory, shared memory, CPUs and disk: enough of each to train something?"""

from __future__ import annotations

from workstation.doctor.container import Engine
from workstation.doctor.finding import Finding, fail, ok, warn
from workstation.doctor.host import Host
from workstation.doctor.place import Place
from workstation.doctor.units import GIB, MIB, size

# The Lab and one kernel with torch in it hold about 1 GiB; data and a model need room besides.
ENOUGH_MEMORY = 4 * GIB
TOO_LITTLE_MEMORY = 2 * GIB
ENOUGH_SHM = 1 * GIB
ENOUGH_DISK = 5 * GIB
TOO_LITTLE_DISK = 200 * MIB
FREE_SOME = "free some: docker system df shows what Docker holds, docker system prune removes what is unused"


def shared_memory(host: Host) -> Finding:
    """DataLoader workers and NCCL exchange tensors through /dev/shm; Docker gives 64 MiB unless told."""
    if host.shm_bytes >= ENOUGH_SHM:
        return ok(size(host.shm_bytes))
    return warn(
        f"{size(host.shm_bytes)}: DataLoader workers may die with a bus error",
        remedy="in the pod, an emptyDir with medium: Memory, mounted at /dev/shm"
        if host.engine is Engine.KUBERNETES
        else "docker run --shm-size 2g …, or shm_size: 2g in docker-compose.yml",
    )


def memory(host: Host) -> Finding:
    """Over its limit a kernel is killed without a word: the notebook only says that it died."""
    limited = " (the container's limit)" if host.memory.limited else ""
    value = f"{size(host.memory.usable_bytes)}{limited}"
    raise_it = "docker run --memory 8g …, or mem_limit: in docker-compose.yml" if limited else "use a larger machine"
    if host.memory.usable_bytes < TOO_LITTLE_MEMORY:
        return fail(f"{value}: too little for torch beside the Lab", remedy=raise_it)
    if host.memory.usable_bytes < ENOUGH_MEMORY:
        return warn(f"{value}: kernels may be killed", remedy=raise_it)
    return ok(value)


def cpus(host: Host) -> Finding:
    """OpenMP counts the host's CPUs, not the quota: too many threads are throttled and run slower than few."""
    quota = "" if host.cpus.quota is None else f" (quota {host.cpus.quota:g})"
    value = f"{host.cpus.usable}{quota}"
    threads = host.cpus.threads
    if threads is None and host.cpus.quota is None:
        return ok(value)
    if threads is None:
        return warn(
            f"{value}, threads not bound to the quota", remedy=f"docker run --env OMP_NUM_THREADS={host.cpus.usable} …"
        )
    outermost = threads.split(",")[0]  # "4,2": four threads, each of which may start two
    if not outermost.isdigit() or int(outermost) > host.cpus.usable:
        return warn(
            f"{value}, OMP_NUM_THREADS={threads}", remedy=f"docker run --env OMP_NUM_THREADS={host.cpus.usable} …"
        )
    return ok(f"{value}, {threads} threads")


def home(host: Host) -> Finding:
    """Notebooks and checkpoints are saved here."""
    return _room(host.places.home, remedy="mount a volume there: docker run -v work:{path} …")


def temporary_directory(host: Host) -> Finding:
    """Compilers, pip and DataLoader workers write here; a read-only root takes it away."""
    return _room(host.places.temporary, remedy="docker run --tmpfs {path}:exec …")


def _room(place: Place, *, remedy: str) -> Finding:
    value = f"{place.path}: {size(place.free_bytes)} free"
    if not place.writable:
        return fail(f"{place.path} cannot be written", remedy=remedy.format(path=place.path))
    if place.free_bytes < TOO_LITTLE_DISK:
        return fail(value, remedy=FREE_SOME)
    if place.free_bytes < ENOUGH_DISK:
        return warn(value, remedy=FREE_SOME)
    return ok(value)
