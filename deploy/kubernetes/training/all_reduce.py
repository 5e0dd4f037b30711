"""The first job on a new cluster: do all nodes meet, is the sum right, how fast do tensors travel?

Replace it by your own training script. Started by torchrun; exit code 1 where a sum is wrong.
"""

from __future__ import annotations

import os
import sys
import time

import torch
import torch.distributed as dist

ELEMENTS = 4 * 2**20  # 16 MiB of float32
ROUNDS = 10


def main() -> int:
    local_rank = int(os.environ["LOCAL_RANK"])
    device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    rank, world = dist.get_rank(), dist.get_world_size()

    tensor = torch.full((ELEMENTS,), rank + 1.0, device=device)
    dist.all_reduce(tensor)  # also opens the connections, before the clock starts
    right = bool((tensor == world * (world + 1) / 2).all())

    began = time.perf_counter()
    for _ in range(ROUNDS):
        dist.all_reduce(tensor)
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) / ROUNDS
    # Bus bandwidth as nccl-tests define it: what each link carries, whatever the number of ranks.
    bandwidth = 2 * (world - 1) / world * ELEMENTS * tensor.element_size() / seconds / 1e9

    if rank == 0:
        outcome = "right" if right else "WRONG"
        print(f"{world} ranks on {device.type}: the sum is {outcome}, bus bandwidth {bandwidth:.2f} GB/s", flush=True)
    dist.destroy_process_group()
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
