"""Two containers of the image on one network, with torchrun across them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from imagecheck.engine.boots import Boot
from imagecheck.engine.container import Document, run_probe
from imagecheck.engine.lab import Lab

NODES = ("node0", "node1")


def run_pair(lab: Lab, python: str, *, timeout: float) -> Mapping[str, Document]:
    """The documents of probes/distributed.py, run on both nodes at once, by node.

    Raises:
        ProbeError: a node could not be booted, or gave no document.
    """
    network = lab.new_network()
    booted = {node: lab.boot(Boot(node), python, network=network, alias=node) for node in NODES}
    with ThreadPoolExecutor(len(NODES)) as together:
        running = {
            node: together.submit(
                run_probe, booted[node], python, "distributed", [NODES[0], node, str(timeout)], timeout=timeout + 10
            )
            for node in NODES
        }
    return {node: future.result() for node, future in running.items()}
