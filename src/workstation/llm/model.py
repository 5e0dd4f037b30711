"""A decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU. Llama's architecture and naming of shapes.

B rows, T places, H heads, K key-value heads, W width of a head, D width of the model, V padded vocabulary.
"""

# ruff: noqa: N803, N806 - the capitals in a tensor's name are its shape
from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from workstation.llm.settings import Shape

IGNORED = -100  # a target that is not asked for


@dataclass
class Cache:
    """Keys and values of the places already read: what sampling needs not compute again."""

    keys: Tensor  # (layers, B, K, room, W)
    values: Tensor
    length: int = 0

    @classmethod
    def empty(cls, model: Decoder, rows: int) -> Cache:
        shape, weight = model.shape, model.embedding.weight
        room = (shape.layers, rows, shape.kv_heads, shape.context, shape.head_width)
        return cls(weight.new_empty(room), weight.new_empty(room))

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep this layer's new keys and values; all of them so far. `length` grows when the last layer is done."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


@dataclass(frozen=True)
class Places:
    """Where each token stands, and what it may look at."""

    cosine: Tensor  # (T, W / 2)
    sine: Tensor
    mask: Tensor | None  # True: may look. None: causal, which fused kernels know by themselves
    causal: bool


def of_any_length() -> AbstractContextManager[object]:
    """Around a call whose rows are as long as no call's before: the next token's, or those of somebody's text.

    On an H100 and its successors PyTorch's first choice of attention is cuDNN's, which works out a plan, tens of
    milliseconds long, for each new number of keys: in training once, here at each token. Besides, on a B200 it
    gives wrong answers, silently, with fewer than 8 heads of keys (pytorch#193893). A CPU has none of it.
    """
    others = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    kernels: AbstractContextManager[object] = sdpa_kernel(others)
    return kernels


class Norm(nn.RMSNorm):
    """In the precision of its gains: under autocast float32, whatever runs from layer to layer."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class Attention(nn.Module):
    def __init__(self, shape: Shape, layer: int) -> None:
        super().__init__()
        self.shape, self.layer = shape, layer
        shared = shape.kv_heads * shape.head_width
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, shared, bias=False)
        self.value = nn.Linear(shape.width, shared, bias=False)
        self.output = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x_BTD: Tensor, places: Places, cache: Cache | None) -> Tensor:
        rows, length, _ = x_BTD.shape

        def heads(x: Tensor, count: int) -> Tensor:
            return x.view(rows, length, count, self.shape.head_width)

        # Turned before heads and places change places: attention answers in its queries' order of memory, and what
        # the next product reads, and all of the gradients, then need no copy (docs/benchmarks/llm.md).
        q_BHTW = turned(heads(self.query(x_BTD), self.shape.heads), places).transpose(1, 2)
        k_BKTW = turned(heads(self.key(x_BTD), self.shape.kv_heads), places).transpose(1, 2)
        v_BKTW = heads(self.value(x_BTD), self.shape.kv_heads).transpose(1, 2)
        if cache is not None:
            k_BKTW, v_BKTW = cache.extend(self.layer, k_BKTW, v_BKTW)
        y_BHTW = F.scaled_dot_product_attention(
            q_BHTW, k_BKTW, v_BKTW, attn_mask=places.mask, is_causal=places.causal,
            enable_gqa=self.shape.heads != self.shape.kv_heads,
        )  # fmt: skip
        return self.output(y_BHTW.transpose(1, 2).reshape(rows, length, -1))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): one projection decides, softly, how much of the other passes."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x_BTD)) * self.up(x_BTD))


class Block(nn.Module):
    def __init__(self, shape: Shape, layer: int) -> None:
        super().__init__()
        self.attention_norm = Norm(shape.width, eps=1e-5)
        self.attention = Attention(shape, layer)
        self.feed_norm = Norm(shape.width, eps=1e-5)
        self.feed = FeedForward(shape)

    def forward(self, x_BTD: Tensor, places: Places, cache: Cache | None = None) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), places, cache)
        return x_BTD + self.feed(self.feed_norm(x_BTD))


class Decoder(nn.Module):
    """Tokens to logits, or to the mean loss where targets are given.

    The loss is computed here, not beside it, so that one compiled graph holds both: the logits are the largest tensor.
    """

    def __init__(self, shape: Shape, *, recompute: bool = False, loss_chunks: int = 1) -> None:
        super().__init__()
        self.shape, self.recompute, self.loss_chunks = shape, recompute, loss_chunks
        self.embedding = nn.Embedding(shape.padded_vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.norm = Norm(shape.width, eps=1e-5)
        # Without a head of its own (tied), the embedding's table is the head: one tensor, kept and counted once.
        self.head = None if shape.tied else nn.Linear(shape.width, shape.padded_vocabulary, bias=False)
        self.register_buffer("cosine", torch.empty(shape.context, shape.head_width // 2), persistent=False)
        self.register_buffer("sine", torch.empty(shape.context, shape.head_width // 2), persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """Fill weights and tables. On the meta device nothing happens: call it again after `to_empty`.

        The loss then is ln V: logits of a final RMSNorm, whose rows have length √D, by rows of deviation 0.2/√D.
        """
        for table in (self.embedding, self.head):
            if table is not None:
                nn.init.normal_(table.weight, std=0.2 * self.shape.width**-0.5)
        for name, module in self.named_modules():
            if isinstance(module, Norm):
                nn.init.ones_(module.weight)
            elif isinstance(module, nn.Linear) and module is not self.head:
                # What is added to the stream 2·layers times should not make it grow (Radford et al. 2019).
                added = name.endswith(("output", "down"))
                scale = (2 * self.shape.layers) ** -0.5 if added else 1.0
                nn.init.normal_(module.weight, std=scale * module.in_features**-0.5)
        angles = rotary_angles(self.shape).to(self.cosine.device)
        self.cosine.copy_(angles.cos())
        self.sine.copy_(angles.sin())

    def forward(
        self,
        tokens: Tensor,
        targets: Tensor | None = None,
        documents: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Tokens (B, T) to logits (B, T, V), or with targets (B, T) to the mean loss over those that are not IGNORED.

        `documents` (B, T) numbers the documents of a row: a token then sees those of its own document alone.
        """
        x_BTD = self.embedding(tokens)
        if torch.is_autocast_enabled(x_BTD.device.type):
            # A looked-up row is float32, and each sum with it would be: twice the bytes from layer to layer.
            x_BTD = x_BTD.to(torch.get_autocast_dtype(x_BTD.device.type))
        places = self._places(tokens.shape[1], documents, cache)
        for block in self.blocks:
            if self.recompute and self.training:
                x_BTD = checkpoint(block, x_BTD, places, use_reentrant=False)
            else:
                x_BTD = block(x_BTD, places, cache)
        if cache is not None:
            cache.length += tokens.shape[1]
        x_BTD = self.norm(x_BTD)
        return self._logits(x_BTD) if targets is None else self._loss(x_BTD, targets)

    def _places(self, length: int, documents: Tensor | None, cache: Cache | None) -> Places:
        begin = cache.length if cache is not None else 0
        mask = None
        if documents is not None:
            mask = (documents[:, None, :, None] == documents[:, None, None, :]).tril()  # (B, 1, T, T)
        elif begin and length > 1:
            mask = torch.ones(length, begin + length, dtype=torch.bool, device=self.cosine.device).tril(begin)
        causal = mask is None and length > 1  # a single token may look at all that is before it
        return Places(self.cosine[begin : begin + length], self.sine[begin : begin + length], mask, causal)

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(x, self.embedding.weight if self.head is None else self.head.weight)

    def _loss(self, x_BTD: Tensor, targets: Tensor) -> Tensor:
        x, targets = x_BTD.flatten(0, 1), targets.flatten()
        asked = (targets != IGNORED).sum().clamp(min=1)  # none asked: a loss of 0, and no gradient
        if self.loss_chunks == 1:
            return self._summed(x, targets) / asked
        # Each part's logits live only while its loss and gradient are computed: memory for a second pass of the head.
        parts = zip(x.chunk(self.loss_chunks), targets.chunk(self.loss_chunks), strict=True)
        if self.training:
            sums = [checkpoint(self._summed, *part, use_reentrant=False) for part in parts]
        else:
            sums = [self._summed(*part) for part in parts]
        return torch.stack(sums).sum() / asked

    def _summed(self, x: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self._logits(x).float(), targets, ignore_index=IGNORED, reduction="sum")


def rotary_angles(shape: Shape) -> Tensor:
    """How far each pair of numbers is turned at each place, (context, W / 2) (Su et al. 2021)."""
    pairs = torch.arange(0, shape.head_width, 2, dtype=torch.float32, device="cpu") / shape.head_width
    return torch.outer(torch.arange(shape.context, dtype=torch.float32, device="cpu"), shape.rope_base**-pairs)


def turned(x: Tensor, places: Places) -> Tensor:
    """Turn each pair (first half, second half) of (B, T, heads, W): the product of two places then knows how far
    they are apart."""
    first, second = x.chunk(2, dim=-1)
    cosine, sine = places.cosine[:, None], places.sine[:, None]
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).type_as(x)


def build(
    shape: Shape,
    device: torch.device,
    *,
    dtype: torch.dtype = torch.float32,
    recompute: bool = False,
    loss_chunks: int = 1,
) -> Decoder:
    """A new decoder, its weights drawn on `device`: no copy on the host, and on the meta device no memory at all."""
    with torch.device("meta"):
        model = Decoder(shape, recompute=recompute, loss_chunks=loss_chunks)
    for weight in model.parameters():
        weight.data = weight.data.to(dtype)  # weights alone: the tables of angles stay float32
    model.to_empty(device=device)
    model.initialise()
    return model
