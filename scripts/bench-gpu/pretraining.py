"""Each preset's own code path on random tokens of the real shape."""

from __future__ import annotations

import dataclasses
import time

import torch
from part import GIB, Part, Row, Times, peak_gib, short, shrunk
from torch import Tensor, nn

from workstation.llm import memory, mfu
from workstation.llm.pretrain import compiled, decoder, pretrain
from workstation.llm.settings import PRESETS, Preset, Shape
from workstation.llm.watch import NoGarbage, Speed
from workstation.training import device
from workstation.training.settings import Settings

SMALL = "8b, as on 80 GB"  # where all of a block is computed again, though this GPU may have room for its products
COLUMNS = ("preset", "parameters", "rows", "T", "tokens/s", "MFU", "GiB", "GiB by arithmetic", "loss", "first step s")
MEASURED = {name: preset for name, preset in PRESETS.items() if name != "tiny"} | {SMALL: PRESETS["8b"]}


def measure(name: str, steps: int, dry: bool) -> Row:
    """Two stretches; the second is the steady state."""
    on = torch.device("cpu" if dry else "cuda")
    whole = MEASURED[name]
    preset = shrunk(short(whole, steps)) if dry else short(fitting(whole), steps)
    speed, times = Speed(preset.shape, tokens(preset), preset.shape.context, device.describe(on)), Times()
    torch.manual_seed(0)
    model = decoder(preset, on)
    room = not dry and name != SMALL and memory.keeps_products(preset, device.memory(on))
    if not dry:
        compiled(model, in_parts=False, products=room)
    losses = train(model, preset, on, speed, times)
    share = speed.utilisation
    return {
        "preset": name,
        "parameters": f"{preset.shape.parameters:,}",
        "rows": str(preset.recipe.micro_batch),
        "T": str(preset.shape.context),
        "tokens/s": "dry run" if dry else f"{speed.rates[-1]:,.0f}",
        "MFU": "unknown" if share is None else f"{share:.1%}",
        "GiB": "" if dry else peak_gib(),
        "GiB by arithmetic": f"{memory.need(preset.shape, preset.recipe, products=room).total / GIB:.1f}",
        "loss": f"{losses[0]:.2f} → {losses[-1]:.2f}",
        "first step s": f"{times.first:.1f}",
    }


def train(
    model: nn.Module, preset: Preset, on: torch.device, *hooks: Speed | Times, shard: bool = False
) -> list[float]:
    """The preset's recipe on one random batch, which it comes to know by heart: so the loss must fall."""
    settings = Settings(on, amp=preset.recipe.precision == "mixed", shard=shard)
    batches = [batch(preset.shape, preset.recipe.batch)] * preset.recipe.stretch
    return pretrain(model, batches, preset.recipe, settings, [*hooks, NoGarbage()])


def batch(shape: Shape, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    row = torch.randint(0, shape.vocabulary, (rows, shape.context + 1), generator=random)
    return row[:, :-1].contiguous(), row[:, 1:].contiguous(), row[:, 1:].contiguous()


def tokens(preset: Preset) -> int:
    """Of one step."""
    return preset.recipe.batch * preset.shape.context


def fitting(preset: Preset) -> Preset:
    """The preset with the largest micro-batch, up to its own, that fits this GPU."""
    available = device.memory(torch.device("cuda", 0))
    rows = memory.largest_micro_batch(preset, memory.usable(available))
    rows = min(rows, preset.recipe.micro_batch)
    if rows == 0:
        memory.must_fit(preset, available, torch.cuda.get_device_name())
    recipe = dataclasses.replace(preset.recipe, accumulate=preset.recipe.batch // rows)
    return dataclasses.replace(preset, recipe=recipe)


def matmul(side: int = 8192, times: int = 50) -> float:
    """Operations a second of a large bfloat16 product: what no model can pass."""
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        a @ b
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        a @ b
    torch.cuda.synchronize()
    return 2 * side**3 * times / (time.perf_counter() - began)


PART = Part(
    title=f"Pre-training. MFU: {mfu.FORMULA}",
    columns=COLUMNS,
    rows=tuple(MEASURED),
    measure=measure,
)
