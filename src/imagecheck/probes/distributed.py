"""One node of two: distributed.py MASTER NODE SECONDS. Starts torchrun here; its worker is this file again.

The worker all-reduces numbers whose sum is known exactly, and compares the gradients DistributedDataParallel averages
over two half batches with the gradient of the whole batch.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PORT = 29500
SEED = 7


def launch(master: str, seconds: float) -> dict[str, object]:
    """torchrun's exit code, its last words, and what the worker on this node wrote."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "worker.json")
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nnodes=2",
            "--nproc-per-node=1",
            "--max-restarts=0",
        ]
        command += ["--rdzv-backend=c10d", "--rdzv-id=imagecheck", f"--rdzv-endpoint={master}:{PORT}"]
        command += ["--rdzv-conf=join_timeout={0},timeout={0}".format(int(seconds))]
        command += [str(Path(__file__).resolve()), "--worker", str(result), str(seconds)]
        # One thread a worker: two nodes share this machine.
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output, _ = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.terminate()  # torchrun ends its workers then
            output, _ = child.communicate()
        worker = None
        if result.exists():
            worker = json.loads(result.read_text())
    return {"exit": child.returncode, "log": output.decode(errors="replace")[-3000:], "worker": worker}


def all_reduce(device: str) -> bool:
    """Small integers, so that every order of adding gives exactly the same float32."""
    import torch
    import torch.distributed as dist

    rank, world = dist.get_rank(), dist.get_world_size()
    values = torch.arange(1000, dtype=torch.float32, device=device) + rank * 1000
    dist.all_reduce(values)
    exact = world * torch.arange(1000, dtype=torch.float32, device=device) + 1000 * world * (world - 1) / 2
    return bool(torch.equal(values, exact))


def gradients(device: str) -> tuple[str, float, float]:
    """A digest of the averaged gradients, how far they are from the whole batch's, and the largest; in float64."""
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    torch.manual_seed(SEED)
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)).double().to(device)
    x, y = torch.randn(64, 16).double().to(device), torch.randn(64, 1).double().to(device)
    whole = torch.autograd.grad(torch.nn.functional.mse_loss(model(x), y), model.parameters())

    rank = dist.get_rank()
    half = slice(rank * 32, rank * 32 + 32)
    averaged = DistributedDataParallel(model)  # kept until after backward: its hooks go with it
    torch.nn.functional.mse_loss(averaged(x[half]), y[half]).backward()
    ours = [parameter.grad for parameter in model.parameters()]
    digest = hashlib.sha256(b"".join(str(gradient.tolist()).encode() for gradient in ours)).hexdigest()
    errors = [(ours[i] - whole[i]).abs().max().item() for i in range(len(ours))]
    return digest, max(errors), max(gradient.abs().max().item() for gradient in whole)


def choose_backend(cuda: Any) -> str:
    """NCCL refuses two ranks on one GPU, and both containers see the same ones.

    `cuda` is torch.cuda. Its count alone will not do: it is NVML's, with GPUs for which the driver is too old.
    """
    return "nccl" if cuda.is_available() and cuda.device_count() > 1 else "gloo"


def work(result: Path, seconds: float) -> None:
    import torch
    import torch.distributed as dist
    import torch.distributed.nn  # before there is a group, or its defaults keep it: pytorch/pytorch#190489

    backend = choose_backend(torch.cuda)
    dist.init_process_group(backend, timeout=datetime.timedelta(seconds=seconds))
    device = f"cuda:{dist.get_rank()}" if backend == "nccl" else "cpu"
    exact = all_reduce(device)
    digest, error, largest = gradients(device)
    document = {
        "backend": backend,
        "rank": dist.get_rank(),
        "world": dist.get_world_size(),
        "all_reduce_exact": exact,
        "gradients": digest,
        "gradient_error": error,
        "gradient_largest": largest,
    }
    result.write_text(json.dumps(document))
    dist.destroy_process_group()


def main() -> None:
    if sys.argv[1] == "--worker":
        work(Path(sys.argv[2]), float(sys.argv[3]))
    else:
        print(json.dumps(dict(launch(sys.argv[1], float(sys.argv[3])), node=sys.argv[2])))


if __name__ == "__main__":
    main()
