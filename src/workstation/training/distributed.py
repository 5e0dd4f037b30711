"""One process of many: how it finds the others, agrees with them, and leaves. Alone, all of it is a no-op."""

from __future__ import annotations

import datetime
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

# Its functions' defaults keep the process group that exists when it is first imported, and DDP imports it late. A group
# that is kept keeps its threads, and one of those that lets go of a tensor while Python is going down aborts a run that
# had succeeded (pytorch/pytorch#190489). Imported here, there is none to keep.
import torch.distributed.nn

from workstation.errors import DeviceError, SettingError, WorkstationError
from workstation.training.device import choose
from workstation.training.preemption import Stopped

# What torchrun gives its processes.
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
TORCHRUN = "Start me with torchrun, e.g. torchrun --standalone --nproc-per-node 2 -m workstation examples run cnn"
BEAT = 0.5  # seconds: how often a rank that others wait for says that it lives
Made = TypeVar("Made")


class PeerError(WorkstationError):
    """The other processes of the job cannot be reached, or one was lost. 75: the same command may work later."""

    exit_code = 75


@dataclass(frozen=True)
class Place:
    """Where in the job this process stands, as torchrun's variables say."""

    rank: int
    size: int
    local_rank: int  # on this machine
    local_size: int
    host: str  # of the store, through which the processes find each other
    port: int
    timeout: datetime.timedelta  # how long to wait for a peer before it counts as lost

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Place | None:
        """None where nothing says that there is a job. SettingError where only half of it is said."""
        missing = [name for name in VARIABLES if name not in environment]
        if len(missing) == len(VARIABLES):
            return None
        if missing:
            raise SettingError(f"{', '.join(missing)} not set, but other variables of a job are", remedy=TORCHRUN)
        seconds = environment.get("WORKSTATION_PEER_TIMEOUT", "300")
        try:
            rank, size, local_rank, local_size = (int(environment[name]) for name in VARIABLES[:4])
            port = int(environment["MASTER_PORT"])
        except ValueError as error:
            raise SettingError(f"a variable of the job is not a number: {error}", remedy=TORCHRUN) from error
        for kind, number, of in (("", rank, size), ("LOCAL_", local_rank, local_size)):
            if not 0 <= number < of:
                raise SettingError(f"{kind}RANK={number} is none of {kind}WORLD_SIZE={of} processes", remedy=TORCHRUN)
        if not 0 < port < 1 << 16:
            raise SettingError(f"MASTER_PORT={port} is no port", remedy=TORCHRUN)
        try:
            timeout = datetime.timedelta(seconds=float(seconds))
        except (ValueError, OverflowError):
            timeout = datetime.timedelta(0)
        if timeout <= datetime.timedelta(0):
            raise SettingError(
                f"WORKSTATION_PEER_TIMEOUT={seconds} is no number of seconds above 0", remedy="Leave it out for 300."
            )
        return cls(rank, size, local_rank, local_size, environment["MASTER_ADDR"], port, timeout)


@contextmanager
def joined(asked: str = "auto") -> Iterator[torch.device]:
    """This process's device: one of a job's where torchrun started it, alone otherwise.

    Raises SettingError or PeerError, both before the body runs, and PeerError where a peer is lost in the body.
    """
    device, place = choose(asked), Place.from_environment(os.environ)
    if place is None:
        yield device
        return
    if device.type == "cuda":
        device = _own_gpu(place)
    if "OMP_NUM_THREADS" not in os.environ:  # which counts the threads of one process; these share a machine's cores
        torch.set_num_threads(max(1, torch.get_num_threads() // place.local_size))
    store = _meet(place)
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=place.rank,
            world_size=place.size,
            timeout=place.timeout,
            device_id=device if device.type == "cuda" else None,
        )
        yield device
        any_of([False])  # the store's host must not leave while others still need it
    except Stopped:
        if dist.is_initialized():
            dist.destroy_process_group()  # nothing is under way: the others are told at once that this rank has left
        raise
    except RuntimeError as error:
        if not _is_about_a_peer(error):
            raise
        raise PeerError(
            f"rank {place.rank} lost a peer: {str(error).splitlines()[0]}",
            remedy="torchrun starts the job again from its newest checkpoint; the peer's own log says why it went",
        ) from error
    # Not after an error: with NCCL this would wait for the very peer that is gone. The process ends instead.
    dist.destroy_process_group()


def _own_gpu(place: Place) -> torch.device:
    found = torch.cuda.device_count()
    if place.local_rank >= found:
        raise DeviceError(
            f"process {place.local_rank + 1} of this machine has no GPU of its own: there are {found}",
            remedy="torchrun --nproc-per-node=gpu starts one process a GPU; --device cpu runs without.",
        )
    torch.cuda.set_device(place.local_rank)
    return torch.device("cuda", place.local_rank)


def _meet(place: Place) -> dist.Store:
    """The job's store, once every rank has come to it."""
    # torchrun's agent may host it, and then rank 0 must not.
    hosts = place.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    seconds = place.timeout.total_seconds()
    try:
        if not hosts:
            _until_it_answers(place)
        store = dist.TCPStore(
            place.host, place.port, place.size, hosts, place.timeout, wait_for_workers=False, multi_tenant=True
        )
    except (OSError, RuntimeError, ValueError) as error:  # torch's DistNetworkError is a RuntimeError
        what = "listen on" if hosts else "reach"
        raise PeerError(
            f"rank {place.rank} cannot {what} {place.host}:{place.port}, where the job meets, within {seconds:.0f} s",
            remedy="Does that name lead to rank 0's machine, does rank 0 run, and does no firewall close the port?",
        ) from error
    store.set(f"here/{place.rank}", str(place.size))
    _wait_for_all(store, place)
    for other in range(place.size):
        said = int(store.get(f"here/{other}"))
        if said != place.size:
            raise PeerError(
                f"rank {other} was told WORLD_SIZE={said}, rank {place.rank} {place.size}",
                remedy="Every node needs the same --nnodes and --nproc-per-node",
            )
    return store


def _until_it_answers(place: Place) -> None:
    """Raises OSError where it does not in time. torch would, too, after forty lines of C++ frames."""
    deadline = time.monotonic() + place.timeout.total_seconds()
    while True:
        try:
            socket.create_connection((place.host, place.port), max(1.0, deadline - time.monotonic())).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(BEAT / 5)


def _wait_for_all(store: dist.Store, place: Place) -> None:
    names = {other: f"here/{other}" for other in range(place.size)}
    try:
        store.wait(list(names.values()), place.timeout)
    except RuntimeError as error:
        missing = ", ".join(str(other) for other, name in names.items() if not store.check([name]))
        raise PeerError(
            f"of {place.size} processes, rank {missing} did not come to {place.host}:{place.port} "
            f"within {place.timeout.total_seconds():.0f} s",
            remedy="Start it, or start the others with the WORLD_SIZE that there is",
        ) from error


def _is_about_a_peer(error: RuntimeError) -> bool:
    """Gloo throws a bare RuntimeError with its source file in it; NCCL and the store have classes of their own."""
    return isinstance(error, dist.DistError) or "gloo/" in str(error)


def rank() -> int:
    return int(dist.get_rank()) if dist.is_initialized() else 0


def size() -> int:
    return int(dist.get_world_size()) if dist.is_initialized() else 1


def any_of(flags: Sequence[bool]) -> list[bool]:
    """Each flag, true where any rank says so: the same answer everywhere. Every rank must ask."""
    if size() == 1:
        return list(flags)
    votes = torch.tensor(flags, dtype=torch.uint8)
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return [bool(vote) for vote in votes]


def silence() -> float | None:
    """Seconds after which a peer counts as lost; None where there is none."""
    place = Place.from_environment(os.environ)
    return place.timeout.total_seconds() if place is not None and size() > 1 else None


def in_background(work: Callable[[], Made]) -> Future[Made]:
    """Begin `work` in a thread. A process that ends does not wait for it: a lost peer may hold it for half an hour."""
    future: Future[Made] = Future()
    gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else None

    def run() -> None:
        try:
            if gpu is not None:
                torch.cuda.set_device(gpu)  # each thread has its own
            future.set_result(work())
        except BaseException as error:  # whoever waits for it gets it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def awaited(future: Future[Made]) -> Made:
    """What comes of it. That may take longer on a rank than a lost peer's time-out: the ranks tell each other meanwhile
    that they live. Every rank must ask, for a future of its own, and all leave together."""
    _live_until(lambda: bool(wait([future], BEAT).done))
    return future.result()


def _live_until(done: Callable[[], bool]) -> None:
    """Until all ranks are done; `done` takes no longer than a beat to say no."""
    while any_of([not done()])[0]:
        pass


def from_first(make: Callable[[], Made]) -> Made:
    """What `make` returns on rank 0, on every rank; so is its WorkstationError. Every rank must ask.

    `make` may take its time, but must not ask other ranks for anything.
    """
    if size() == 1:
        return make()
    made: list[Any] = [None, None]  # and what and remedy of an error: it may not survive a pickle itself
    failure: WorkstationError | None = None
    if rank() == 0:
        done = threading.Event()
        with ThreadPoolExecutor(1) as beside:
            living = beside.submit(_live_until, lambda: done.wait(BEAT))
            try:
                made[0] = make()
            except WorkstationError as error:
                failure = error
                made[1] = (error.what, error.remedy)
            finally:
                done.set()
        living.result()
    else:
        _live_until(lambda: True)
    dist.broadcast_object_list(made, src=0, device=torch.device("cpu"))
    if failure is not None:
        raise failure
    if made[1] is not None:
        raise PeerError(f"rank 0: {made[1][0]}", remedy=made[1][1])
    result: Made = made[0]
    return result
