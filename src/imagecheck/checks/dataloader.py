"""DataLoader workers, with /dev/shm as it was given."""

from __future__ import annotations

from imagecheck.bench import Bench
from imagecheck.outcome import Finding, failed, passed
from imagecheck.registry import promise

MIB = 1024**2


@promise("dataloader.workers", "two DataLoader workers hand over image batches through /dev/shm, intact")
def workers(bench: Bench) -> Finding:
    document = bench.torch_probe("dataloader")
    shm, needed = document["shm_bytes"], document["needed_bytes"]
    facts = {key: document[key] for key in ("shm_bytes", "needed_bytes", "workers")}
    if "error" in document:
        if shm < needed:
            return failed(
                f"/dev/shm is {shm // MIB} MiB and the batches in flight need {needed // MIB} MiB: a worker died",
                remedy="docker run --shm-size 1g …, shm_size: in compose, an emptyDir of medium Memory in Kubernetes",
                error=document["error"],
                **facts,
            )
        return failed(
            document["error"].splitlines()[0],
            remedy="/dev/shm is large enough: see the error for what the worker met",
            error=document["error"],
            **facts,
        )
    if not document["intact"]:
        return failed(
            "batches arrived changed",
            remedy="the workers' shared memory is written by something else: drop a patched torch.multiprocessing",
            **facts,
        )
    return passed(f"{document['batches']} batches through {shm // MIB} MiB of /dev/shm", **facts)
