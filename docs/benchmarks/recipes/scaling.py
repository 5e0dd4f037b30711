"""Data parallel training on the ranks that torchrun started: a step with the exchange of gradients, and without it.

scaling.py WORKLOAD ROWS: every rank takes ROWS rows a step. Rank 0 prints JSON.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from workstation.examples.cnn import convnet
from workstation.llm.model import build
from workstation.llm.settings import PRESETS

WARM_UP, PAIRS = 10, 60


def language_model(rows: int) -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    shape = PRESETS["tiny"].shape
    tokens = torch.randint(shape.vocabulary, (rows, shape.context + 1))
    return build(shape, torch.device("cpu")), lambda model: model(tokens[:, :-1], targets=tokens[:, 1:])


def image_classifier(rows: int) -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    images, classes = torch.rand(rows, 1, 8, 8), torch.randint(10, (rows,))
    return convnet(8), lambda model: F.cross_entropy(model(images), classes)


def main() -> None:
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model, loss = {"llm": language_model, "cnn": image_classifier}[sys.argv[1]](int(sys.argv[2]))
    replica = DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step(exchange: bool) -> float:
        dist.barrier()
        before = time.perf_counter()
        with nullcontext() if exchange else replica.no_sync():
            loss(replica).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)  # the gradients are views of DDP's buckets
        return time.perf_counter() - before

    for _ in range(WARM_UP):
        step(True), step(False)
    pairs = [(step(True), step(False)) for _ in range(PAIRS)]
    if dist.get_rank() == 0:
        report = {
            "processes": dist.get_world_size(),
            "threads": torch.get_num_threads(),
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "seconds": statistics.median(both for both, _ in pairs),
            "exchange": statistics.median(1 - alone / both for both, alone in pairs),
        }
        print(json.dumps(report), flush=True)
    dist.destroy_process_group()
    os._exit(0)  # torchrun waits for gloo's threads otherwise


if __name__ == "__main__":
    main()
