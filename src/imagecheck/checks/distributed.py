"""Two containers of the image work as one job: gloo on CPU, NCCL where there are two GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagecheck.bench import Bench, Blocked
from imagecheck.outcome import Finding, failed, passed
from imagecheck.registry import promise

RELATIVE = 1e-12  # float64 sums of 64 terms; two halves add in another order than the whole


def workers(bench: Bench) -> list[Mapping[str, Any]]:
    """Both workers' documents. Raises Blocked where they never met."""
    found = [document["worker"] for document in bench.pair().values()]
    if not all(found):
        raise Blocked("the job did not run to its end: see distributed.rendezvous")
    return found


@promise("distributed.rendezvous", "torchrun in two containers on one network forms a job that runs to its end")
def rendezvous(bench: Bench) -> Finding:
    nodes = bench.pair()
    broken = {node: document for node, document in nodes.items() if document["exit"] != 0 or not document["worker"]}
    if broken:
        node, document = next(iter(broken.items()))
        return failed(
            f"torchrun on {node} ended with {document['exit']}",
            remedy="unset GLOO_SOCKET_IFNAME/NCCL_SOCKET_IFNAME/MASTER_ADDR in the image; see both nodes' logs",
            logs={name: document["log"] for name, document in nodes.items()},
        )
    first = nodes[next(iter(nodes))]["worker"]
    return passed(f"{first['world']} ranks over {first['backend']}")


@promise("distributed.all-reduce", "an all-reduce over the two containers gives exactly the known sum on both")
def all_reduce(bench: Bench) -> Finding:
    wrong = [worker["rank"] for worker in workers(bench) if not worker["all_reduce_exact"]]
    if wrong:
        return failed(
            f"the sum is wrong on rank {', '.join(map(str, wrong))}",
            remedy="look for a patched torch.distributed, or a gloo/NCCL of another release",
        )
    return passed("exact on both ranks")


@promise("distributed.gradients", "DistributedDataParallel leaves the same gradients on every rank: the whole batch's")
def gradients(bench: Bench) -> Finding:
    both = workers(bench)
    digests = {worker["rank"]: worker["gradients"] for worker in both}
    error = max(worker["gradient_error"] / worker["gradient_largest"] for worker in both)
    remedy = "gradients are not averaged: look for a patched DistributedDataParallel or torch.distributed"
    if len(set(digests.values())) > 1:
        return failed("the ranks hold different gradients", remedy=remedy, digests=digests, relative_error=error)
    if error > RELATIVE:
        return failed(f"the gradients are off by {error:.1e}, allowed {RELATIVE:.0e}", remedy=remedy)
    return passed(f"equal on both ranks, {error:.1e} from the whole batch's", relative_error=error)
