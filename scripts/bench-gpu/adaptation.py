"""Low-rank fine-tuning of a model of Llama 3 8B's shape, its weights random: `workstation llm finetune`'s own loop."""

from __future__ import annotations

import importlib.util

import torch
from part import Part, Row, Times, peak_gib

from workstation.llm import library, mfu
from workstation.llm.answers import Rows
from workstation.llm.finetune import AnswerLoss, Tuning, adapt, finetune
from workstation.llm.memory import MemoryTooSmallError
from workstation.llm.settings import PRESETS, Shape
from workstation.llm.watch import NoGarbage
from workstation.training import device
from workstation.training.settings import Settings

TUNINGS = {
    "lora": Tuning("llama-3-8b", rank=16, length=2048, batch=4, epochs=2),
    "lora, recomputed": Tuning("llama-3-8b", rank=16, length=2048, batch=8, epochs=2, recompute=True),
}


def measure(name: str, steps: int, dry: bool) -> Row:
    """No arithmetic says beforehand whether it fits."""
    try:
        return tuned(name, steps, dry)
    except torch.OutOfMemoryError as error:
        raise MemoryTooSmallError(f"{name} does not fit this GPU", remedy="Take one with more memory.") from error


def tuned(name: str, steps: int, dry: bool) -> Row:
    """Two passes over `steps` full rows; the second is the steady state."""
    transformers = library.transformers()
    on, tuning, shape = torch.device("cpu" if dry else "cuda"), TUNINGS[name], PRESETS["8b"].shape
    if dry:
        shape = Shape(vocabulary=1000, width=64, layers=2, heads=4, kv_heads=2, hidden=128, context=2048, tied=False)
        tuning = Tuning("small", rank=4, length=64, batch=2, epochs=2, recompute=tuning.recompute)
    config = transformers.LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, intermediate_size=shape.hidden,
        max_position_embeddings=2 * shape.context, rope_theta=shape.rope_base, tie_word_embeddings=shape.tied,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)  # as `finetune` reads frozen weights on a GPU
    with on:
        base = transformers.LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model, times = AnswerLoss(adapt(base, tuning)), Times()
    rows = packed(steps * tuning.batch, tuning.length, shape.vocabulary)
    losses = finetune(model, rows, tuning, Settings(on, amp=not dry), [times, NoGarbage()])
    rate = tuning.batch * tuning.length / times.steady
    peak, each = mfu.peak(device.describe(on)), frozen_flops(shape, tuning.length)
    return {
        "method": name,
        "rows": str(tuning.batch),
        "T": str(tuning.length),
        "tokens/s": "dry run" if dry else f"{rate:,.0f}",
        "of the peak": "unknown" if peak is None else f"{rate * each / peak:.1%}",
        "GiB": "" if dry else peak_gib(),
        "loss": f"{losses[0]:.2f} → {losses[-1]:.2f}",
    }


def packed(count: int, length: int, vocabulary: int) -> Rows:
    """Random rows of four conversations each, every token an answer's."""
    tokens = torch.randint(0, vocabulary, (count, length), generator=torch.Generator().manual_seed(0))
    positions = (torch.arange(length) % (length // 4)).expand(count, length).contiguous()
    return Rows(tokens, positions, tokens.roll(-1, 1), conversations=4 * count, too_long=0, filled=1.0)


def frozen_flops(shape: Shape, length: int) -> int:
    """Of a token: 4 N in place of 6 N, as frozen weights have no gradient, and attention as in `mfu`."""
    return mfu.flops_per_token(shape, length) - 2 * mfu.multiplied(shape)


def missing(_row: str, _dry: bool) -> str | None:
    absent = [name for name in ("transformers", "peft", "tokenizers") if importlib.util.find_spec(name) is None]
    return f"{', '.join(absent)} not installed" if absent else None


PART = Part(
    title="LoRA on Llama 3 8B's shape. Of the peak: (4 N + 12 L d T) a token, N without the embedding",
    columns=("method", "rows", "T", "tokens/s", "of the peak", "GiB", "loss"),
    rows=tuple(TUNINGS),
    measure=measure,
    missing=missing,
)
