"""What can happen to a cluster, each done to a running one, and undone again where it can be."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from cluster import LINGERS_AT, Cluster, Line


@dataclass(frozen=True)
class Fault:
    what: str  # for the table
    done: Callable[[Cluster], None]
    expected: str  # what the job does about it
    settings: dict[str, str] = field(default_factory=dict)  # the job's
    short: bool = False  # done in every test run
    interrupts: bool = True  # the job stops and goes on from a checkpoint
    nodes: int = 3  # with which it goes on in the end
    announced: bool = False  # by SIGTERM: no step is made twice
    damages: int = 0  # of the newest checkpoints, so many


def kill_worker(cluster: Cluster) -> None:
    cluster.kill_worker(cluster.node(1))


def lose_node(cluster: Cluster) -> None:
    cluster.docker("kill", cluster.node(1))


def replace_node(cluster: Cluster) -> None:
    lose_node(cluster)
    cluster.docker("start", cluster.node(1))


def stop_and_return_node(cluster: Cluster) -> None:
    cluster.docker("stop", cluster.node(1))
    _wait_for_others(cluster)
    cluster.docker("start", cluster.node(1))


def cut_and_heal_network(cluster: Cluster) -> None:
    cluster.docker("network", "disconnect", cluster.network, cluster.node(1))
    _wait_for_others(cluster)
    cluster.docker("network", "connect", cluster.network, cluster.node(1))


def pause_past_time_out(cluster: Cluster) -> None:
    cluster.docker("pause", cluster.node(1))
    _wait_for_others(cluster)
    cluster.docker("unpause", cluster.node(1))


def kill_all(cluster: Cluster) -> None:
    cluster.docker("kill", *cluster.containers)
    cluster.docker("start", *cluster.containers)


def lose_the_stores_host(cluster: Cluster) -> None:
    """The one that the others cannot do without: the whole job is restarted, as the how-to says."""
    cluster.docker("kill", cluster.head)
    cluster.docker("restart", "--time", "0", *cluster.containers)


def preempt_all(cluster: Cluster) -> None:
    cluster.docker("stop", *cluster.containers)
    cluster.docker("start", *cluster.containers)


def damage_newest_checkpoint(cluster: Cluster) -> None:
    cluster.docker("kill", *cluster.containers)
    shard = cluster.checkpoints()[-1] / "__0_0.distcp"
    content = shard.read_bytes()
    shard.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    cluster.docker("start", *cluster.containers)
    cluster.wait("its name", lambda: f"{shard.parent.name} does not match its checksum" in cluster.printed())


def die_in_save(cluster: Cluster) -> None:
    """The job does it to itself, at the one moment that matters (job.py)."""
    cluster.wait("its end in a save", (cluster.directory / "died").exists)


def slow_node(cluster: Cluster) -> None:
    before, began = pace(cluster.log()), time.time()
    cluster.docker("update", "--cpus", "0.02", cluster.node(1))
    cluster.wait("steps at the slow node's pace", lambda: cluster.last_step() >= LINGERS_AT - 1)
    after = pace([line for line in cluster.log() if line.time > began])
    assert after > 1.5 * before, f"{after:.2f} s a step, {before:.2f} before: the node was not slow"


def pace(log: list[Line]) -> float:
    """Seconds a step, the median, before the job begins to linger."""
    times = [line.time for line in log if line.step is not None and line.step < LINGERS_AT]
    return statistics.median(later - earlier for earlier, later in pairwise(times))


def _wait_for_others(cluster: Cluster) -> None:
    """Until the nodes that are left make steps without the one that is gone."""
    cluster.wait("steps by the nodes that are left", lambda: cluster.log()[-1].step and cluster.log()[-1].nodes == 2)


FAULTS = [
    Fault("kill -9 a worker process", kill_worker, "all workers restart", short=True),
    Fault("kill a node, start it again", replace_node, "it joins again", short=True),
    Fault("kill a node for good", lose_node, "the others go on", nodes=2),
    Fault(
        "stop a node (SIGTERM), return it later",
        stop_and_return_node,
        "the others go on, then it joins",
        announced=True,
    ),
    Fault("cut a node off the network, heal it", cut_and_heal_network, "the others go on, then it joins"),
    Fault("pause a node past the time-out", pause_past_time_out, "the others go on, then it joins"),
    Fault("kill every node, start them again", kill_all, "the job starts from its checkpoint", short=True),
    Fault("kill the store's host, restart all", lose_the_stores_host, "the job starts from its checkpoint"),
    Fault("stop every node (SIGTERM), start them", preempt_all, "saved on the way out", announced=True),
    Fault("flip a bit of the newest checkpoint", damage_newest_checkpoint, "the one before it is used", damages=1),
    Fault("die while a checkpoint is shown", die_in_save, "the one before it is used", {"DIE_IN_SAVE": "1"}),
    Fault("a node with a fiftieth of a core", slow_node, "all go at its pace", interrupts=False),
]
