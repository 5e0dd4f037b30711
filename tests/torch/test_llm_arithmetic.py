"""What a preset costs, worked out before it is trained: operations a token, and bytes of memory."""

from __future__ import annotations

import dataclasses
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from workstation.llm import memory, mfu, watch
from workstation.llm.pretrain import decoder
from workstation.llm.settings import PRESETS, Preset, Recipe
from workstation.training import distributed
from workstation.training.loop import Fit
from workstation.training.parallel import rank_shares


def test_mfu_counts_six_operations_a_weight_and_attention_whole() -> None:
    shape = PRESETS["124m"].shape
    weights = 12 * (4 * 768 * 768 + 3 * 768 * 2048) + 50_304 * 768
    assert mfu.multiplied(shape) == weights
    assert mfu.flops_per_token(shape, 1024) == 6 * weights + 12 * 12 * 768 * 1024
    assert mfu.mfu(989e12 / mfu.flops_per_token(shape, 1024), shape, 1024, 989e12) == pytest.approx(1)
    untied = dataclasses.replace(shape, tied=False)
    assert mfu.multiplied(untied) == weights, "an embedding is looked up, not multiplied"


def test_a_gpu_of_no_known_peak_gets_no_mfu() -> None:
    assert mfu.peak("cuda (NVIDIA H200)") == 989e12
    assert mfu.peak("cpu (2 threads)") is None


def test_an_h100s_peak_is_that_of_its_form() -> None:
    peaks = [mfu.peak(f"cuda (NVIDIA H100 {form})") for form in ("PCIe", "NVL", "80GB HBM3")]
    assert peaks == [756e12, 835e12, 989e12]


def test_many_gpus_have_the_peaks_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = PRESETS["8b"].shape

    def share(gpus: int) -> float | None:
        monkeypatch.setattr(distributed, "size", lambda: gpus)
        return watch.Speed(shape, 0, 4096, "cuda (NVIDIA H200)", rates=[10_000.0 * gpus]).utilisation

    assert share(8) == share(1) == pytest.approx(0.52, abs=0.01)


@pytest.mark.parametrize("steps", [5, 50])
def test_the_speed_is_the_devices_and_not_that_of_telling_it(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    now = free = 0.0  # the host's clock, and when the device has done what it was told: 0.1 s a step

    def rest(*_: object) -> None:
        nonlocal now
        now = max(now, free)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(torch.cuda, "synchronize", rest)
    model: Any = SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device=torch.device("cuda"))]))
    fit, speed = Fit("train", model, model, epochs=2), watch.Speed(None, 1000, 1, "a device")
    for _ in range(2):
        for _ in range(steps):
            free = max(free, now) + 0.1
            fit.unread.append(torch.ones(()))
            speed.step(fit)
        rest()  # the losses are read
        fit.curve += [1.0] * steps
        fit.unread.clear()
        speed.epoch(fit)
    assert speed.rates == pytest.approx([10_000, 10_000])


def test_a_stretch_that_a_resumed_run_had_already_made_has_no_speed() -> None:
    """Its checkpoint is of its last step: none is left to be timed."""
    model: Any = nn.Linear(1, 1)
    fit, speed = Fit("train", model, model, epochs=1, curve=[1.0] * 5), watch.Speed(None, 1000, 1, "a device")
    speed.epoch(fit)
    assert speed.rates == []


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("gpus", [1, 2, 3, 8])
def test_each_gpu_computes_at_most_a_micro_batch_at_once_and_none_is_idle(
    monkeypatch: pytest.MonkeyPatch, name: str, gpus: int
) -> None:
    monkeypatch.setattr(distributed, "size", lambda: gpus)
    recipe = PRESETS[name].recipe
    rows = -(-recipe.batch // recipe.parts(gpus))  # as `fit` cuts
    shares = [len(share) for (share,) in rank_shares((torch.zeros(rows),))]
    assert max(shares) <= recipe.micro_batch
    assert min(shares) >= max(1, min(recipe.micro_batch, recipe.batch // gpus) // 2)


class OneKernel(torch.autograd.Function):
    """A norm that keeps its input alone, as a GPU's kernel does; on a CPU PyTorch puts it together out of several."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x)
        return torch.nn.functional.rms_norm(x, weight.shape, weight)


@pytest.mark.parametrize("how", ["bfloat16", "recomputed", "mixed"])
@pytest.mark.parametrize("name", ["124m", "1.5b"])
def test_the_memory_arithmetic_is_what_autograd_keeps(name: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.RMSNorm, "forward", lambda norm, x: OneKernel.apply(x, norm.weight))
    whole = PRESETS[name].shape
    less = {"vocabulary": 1024, "layers": 3, "context": 128, "width": whole.width // 4, "hidden": whole.hidden // 4}
    shape = dataclasses.replace(whole, **less)
    precision, recompute = "mixed" if how == "mixed" else "bfloat16", how == "recomputed"
    recipe = Recipe(2, 1, 1, 1, rate=0, warmup=1, precision=precision, recompute=recompute)
    model = decoder(Preset(name, shape, recipe), torch.device("cpu"))
    kept = {weight.data_ptr(): 0 for weight in (*model.parameters(), *model.buffers())}
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        alive.append(tensor)  # so that no other takes its address
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    tokens = torch.zeros(2, 128, dtype=torch.long)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=how == "mixed"),
    ):
        model(tokens, tokens)
    needed = memory.need(shape, recipe)
    expected = needed.activations
    if recompute:  # one layer is computed again in the backward pass, and not here
        expected -= 256 * memory.layer_bytes(shape, memory.HALF)
    else:  # a CPU's attention answers in another order of its axes, and the copy in the right order is kept as well
        expected += 3 * 256 * memory.HALF * shape.width
    if how == "mixed":  # the copies of the weights; uncompiled, one of a norm's answer for each product of it, too
        expected += needed.weights - memory.FULL * shape.parameters + 3 * 256 * 3 * memory.HALF * shape.width
    shares = 256 * shape.padded_vocabulary * memory.FULL  # of the loss: what is left of the logits
    assert sum(kept.values()) - shares == pytest.approx(expected, rel=0.05)


def test_a_second_set_of_gradients_has_its_place_however_few_the_rows() -> None:
    preset = PRESETS["1.5b"]
    needed = memory.need(preset.shape, dataclasses.replace(preset.recipe, accumulate=preset.recipe.batch))
    assert needed.activations + needed.logits >= needed.gradients
    alone = memory.need(preset.shape, dataclasses.replace(preset.recipe, batch=1, accumulate=1))
    assert alone.activations < needed.activations, "the only micro-batch of a step adds to nothing"


def test_a_gpu_too_small_is_told_what_fits_before_anything_starts() -> None:
    big = PRESETS["1.5b"]
    with pytest.raises(memory.MemoryTooSmallError, match=r"--micro-batch \d+ fits"):
        memory.must_fit(big, 40 * 2**30, "a GPU of 40 GiB")
    with pytest.raises(memory.MemoryTooSmallError, match="What fits: tiny, 124m, 350m"):
        memory.must_fit(big, 16 * 2**30, "a GPU of 16 GiB")
    memory.must_fit(PRESETS["8b"], 141 * 10**9, "an H200")
    memory.must_fit(PRESETS["124m"], 80 * 10**9, "an H100")


def test_the_micro_batch_that_is_said_to_fit_fits() -> None:
    preset, usable = PRESETS["350m"], 16 * 2**30
    rows = memory.largest_micro_batch(preset, usable)
    assert 1 <= rows < preset.recipe.micro_batch
    for more, fits in [(1, True), (2, False)]:
        recipe = dataclasses.replace(preset.recipe, accumulate=preset.recipe.batch // (rows * more))
        assert (memory.need(preset.shape, recipe).total <= usable) == fits
