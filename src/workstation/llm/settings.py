"""What a language model is and how it is trained: plain numbers, saved with every checkpoint. No torch here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from workstation.errors import SettingError

VOCABULARY_MULTIPLE = 128  # a matrix product whose sides are multiples of 128 fills a GPU's tiles


@dataclass(frozen=True)
class Shape:
    """The architecture of a decoder: that of Llama, so that a Hugging Face LlamaForCausalLM can hold its weights."""

    vocabulary: int  # tokens that exist
    width: int
    layers: int
    heads: int
    kv_heads: int  # fewer than heads: groups of heads share keys and values (grouped-query attention)
    hidden: int  # of the feed-forward part
    context: int  # the longest row it is trained on
    tied: bool = True  # the output head is the embedding table
    rope_base: float = 10_000.0

    def __post_init__(self) -> None:
        if self.width % self.heads or self.heads % self.kv_heads or self.head_width % 2:
            raise SettingError(
                f"width {self.width}, {self.heads} heads, {self.kv_heads} key-value heads do not divide one another",
                remedy="width / heads must be even, and heads a multiple of kv_heads.",
            )

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def padded_vocabulary(self) -> int:
        """Rows of the embedding table. Those above `vocabulary` are never a target."""
        return -(-self.vocabulary // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE

    @property
    def layer_parameters(self) -> int:
        attention = 2 * self.width * self.head_width * (self.heads + self.kv_heads)
        return attention + 3 * self.width * self.hidden + 2 * self.width

    @property
    def parameters(self) -> int:
        tables = self.padded_vocabulary * self.width * (1 if self.tied else 2)
        return tables + self.layers * self.layer_parameters + self.width


@dataclass(frozen=True)
class Recipe:
    """How it is trained. A stretch is what lies between two evaluations: an epoch to `training.loop.fit`."""

    batch: int  # rows of one optimiser step, over all GPUs
    accumulate: int  # micro-batches it is cut into where one process computes it all
    steps: int
    stretch: int  # steps; the last one may have fewer
    rate: float  # the peak learning rate
    warmup: int  # steps up to it; a cosine goes down from it
    optimizer: Literal["adamw", "muon"] = "adamw"  # muon: half the tokens for the same loss, a fifth more time a step
    last_rate: float = 0.1  # of the peak, at the last step
    decay: float = 0.1  # of matrices; not of gains
    clip: float = 1.0
    # mixed: float32 weights, bfloat16 products on a GPU. bfloat16: weights and optimiser state too, half the memory.
    precision: Literal["mixed", "bfloat16"] = "mixed"
    # Activation checkpointing: the activations of one layer at a time. A GPU with room keeps what is dear to compute.
    recompute: bool = False
    masked: bool = False  # a token sees its own document alone; a GPU then computes what it hides
    loss_chunks: int = 1  # cut the output head's work in so many parts: logits of one part at a time

    def __post_init__(self) -> None:
        if self.batch % self.accumulate:
            raise SettingError(
                f"{self.batch} rows in {self.accumulate} micro-batches: that leaves a rest",
                remedy="Choose numbers that divide.",
            )

    @property
    def micro_batch(self) -> int:
        """Rows that a process computes at once."""
        return self.batch // self.accumulate

    @property
    def stretches(self) -> int:
        return -(-self.steps // self.stretch)

    def parts(self, processes: int) -> int:
        """Micro-batches of a step that so many processes share, each computing `micro_batch` rows of each at most."""
        return -(-self.accumulate // processes)


@dataclass(frozen=True)
class Preset:
    name: str
    shape: Shape
    recipe: Recipe

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> Preset:
        return cls(kept["name"], Shape(**kept["shape"]), Recipe(**kept["recipe"]))


GPT2 = 50_257  # that vocabulary, padded to 50 304, is what others report speeds with

PRESETS = {
    preset.name: preset
    for preset in (
        # On two CPU cores in minutes.
        Preset(
            "tiny",
            Shape(vocabulary=2048, width=128, layers=4, heads=4, kv_heads=2, hidden=384, context=256),
            Recipe(
                batch=8, accumulate=1, steps=800, stretch=100, rate=8e-3, warmup=50, optimizer="muon", masked=True
            ),
        ),
        # On one GPU of 80 GB: half a million tokens a step.
        Preset(
            "124m",
            Shape(vocabulary=GPT2, width=768, layers=12, heads=12, kv_heads=12, hidden=2048, context=1024),
            Recipe(batch=512, accumulate=16, steps=19_000, stretch=250, rate=6e-4, warmup=500),
        ),
        Preset(
            "350m",
            Shape(vocabulary=GPT2, width=1024, layers=24, heads=16, kv_heads=16, hidden=2688, context=1024),
            Recipe(batch=512, accumulate=16, steps=30_000, stretch=250, rate=3e-4, warmup=500),
        ),
        Preset(
            "1.5b",
            Shape(vocabulary=GPT2, width=2048, layers=30, heads=16, kv_heads=8, hidden=5504, context=2048),
            Recipe(batch=512, accumulate=64, steps=30_000, stretch=100, rate=2e-4, warmup=1000, loss_chunks=4),
        ),
        # Llama 3's 8B. All in bfloat16 with recomputation: what one GPU of 141 GB can train.
        Preset(
            "8b",
            Shape(
                vocabulary=128_256, width=4096, layers=32, heads=32, kv_heads=8, hidden=14_336, context=4096,
                tied=False, rope_base=500_000.0,
            ),
            Recipe(
                batch=128, accumulate=32, steps=10_000, stretch=50, rate=1e-4, warmup=1000,
                precision="bfloat16", recompute=True, loss_chunks=8,
            ),
        ),
    )
}  # fmt: skip


def preset(name: str) -> Preset:
    """The preset called `name`; SettingError names the others when there is none."""
    if name not in PRESETS:
        raise SettingError(f"no preset is called {name!r}", remedy=f"Choose one of: {', '.join(PRESETS)}.")
    return PRESETS[name]
