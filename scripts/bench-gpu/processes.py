"""What many processes cost and save: DDP's overhead, what FSDP2 leaves on each GPU, how fast the GPUs exchange tensors.

Each row runs under torchrun. One GPU tells DDP's overhead alone: there FSDP2 has nothing to share out, and NCCL nobody
to send to.
"""

from __future__ import annotations

import dataclasses
import gc
import time

import torch
import torch.distributed as dist
from part import GIB, Part, Row, Times, peak_gib, short, shrunk
from pretraining import MEASURED, fitting, train

from workstation.llm.pretrain import compiled, decoder
from workstation.llm.settings import Preset
from workstation.training import distributed
from workstation.training.parallel import shard

DDP, FSDP, EXCHANGE = "DDP ÷ no DDP", "FSDP2 ÷ DDP", "all-reduce"
GRADIENTS = GIB  # bytes of one exchange


def measure(row: str, steps: int, dry: bool) -> Row:
    wanted = "cpu" if dry else "cuda"
    if row == DDP:
        return overhead(wanted, steps, dry)
    with distributed.joined(wanted) as on:
        return sharded(on, steps, dry) if row == FSDP else exchange(on, dry)


def overhead(wanted: str, steps: int, dry: bool) -> Row:
    """One process: the same steps without DDP, with it, and without it again."""
    preset = of("124m", steps, dry)
    alone = torch.device(wanted)
    before, _ = seconds_and_memory(preset, alone, dry)
    with distributed.joined(wanted) as on:
        within, _ = seconds_and_memory(preset, on, dry)
    after, _ = seconds_and_memory(preset, alone, dry)
    ratio = within / ((before + after) / 2)
    return {
        "measure": f"{DDP}, 124m",
        "processes": "1",
        "result": "dry run" if dry else f"{ratio:.3f} of the time; the two without differ by {after / before - 1:+.1%}",
    }


def sharded(on: torch.device, steps: int, dry: bool) -> Row:
    preset = of("1.5b", steps, dry)
    replica, whole = seconds_and_memory(preset, on, dry)
    parts, part = seconds_and_memory(preset, on, dry, in_parts=True)
    said = f"{part} for {whole} GiB on each GPU, {parts / replica:.2f} of the time"
    return {"measure": f"{FSDP}, 1.5b", "processes": str(distributed.size()), "result": "dry run" if dry else said}


def exchange(on: torch.device, dry: bool, times: int = 20) -> Row:
    """A gradient's all-reduce. On the bus each GPU sends and receives 2 (n - 1) / n of it, as nccl-tests counts."""
    size = GIB // 1024 if dry else GRADIENTS
    tensor = torch.ones(size // 2, dtype=torch.bfloat16, device=on)
    for _ in range(3):
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    rest(on)
    began = time.perf_counter()
    for _ in range(times):
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    rest(on)
    each, ranks = (time.perf_counter() - began) / times, distributed.size()
    bus = 2 * (ranks - 1) / ranks * size / each
    said = f"{size / each / 1e9:.0f} GB/s, {bus / 1e9:.0f} GB/s on the bus"
    return {"measure": f"{EXCHANGE} of 1 GiB", "processes": str(ranks), "result": "dry run" if dry else said}


def seconds_and_memory(preset: Preset, on: torch.device, dry: bool, in_parts: bool = False) -> tuple[float, str]:
    """Of a steady step, and at the peak."""
    # The model before this one lives on in cycles, and what was compiled for it would be taken for this one as well.
    gc.collect()
    torch.cuda.empty_cache()
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = decoder(preset, on)
    if not dry:
        compiled(model, in_parts=in_parts)
    if in_parts:
        shard(model, half=preset.recipe.precision == "mixed")
    if not dry:
        torch.cuda.reset_peak_memory_stats()
    times = Times()
    train(model, preset, on, times, shard=in_parts)
    return times.steady, "" if dry else peak_gib()


def of(name: str, steps: int, dry: bool) -> Preset:
    """Each process has as many rows as one alone would have: the more of them, the larger the batch."""
    preset = shrunk(short(MEASURED[name], steps)) if dry else short(fitting(MEASURED[name]), steps)
    recipe, count = preset.recipe, distributed.size()
    recipe = dataclasses.replace(recipe, batch=recipe.batch * count, accumulate=recipe.accumulate * count)
    return dataclasses.replace(preset, recipe=recipe)


def rest(on: torch.device) -> None:
    if on.type == "cuda":
        torch.cuda.synchronize()


def processes(row: str, dry: bool) -> int:
    if row == DDP:
        return 1
    return 2 if dry else torch.cuda.device_count()


def missing(row: str, dry: bool) -> str | None:
    return "needs two GPUs" if processes(row, dry) < 2 and row != DDP else None


PART = Part(
    title="Many processes",
    columns=("measure", "processes", "result"),
    rows=(DDP, FSDP, EXCHANGE),
    measure=measure,
    processes=processes,
    missing=missing,
)
