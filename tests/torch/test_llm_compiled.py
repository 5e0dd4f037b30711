"""What the compiler is given: one graph of the whole where there is room for it, else one of a block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func, min_cut_rematerialization_partition
from processes import together
from torch import fx
from torch._dynamo.backends.common import aot_autograd

from workstation.llm import finetune as finetuning
from workstation.llm import library
from workstation.llm.answers import Rows
from workstation.llm.finetune import AnswerLoss, Tuning, adapt, finetune
from workstation.llm.model import Decoder
from workstation.llm.pretrain import compiled, decoder, pretrain
from workstation.llm.settings import Preset, Recipe, Shape
from workstation.training.parallel import shard
from workstation.training.settings import Settings

LAYERS, MICRO_BATCHES = 3, 2
# A layer has 2.6 MB, and so DDP, which reduces the first megabyte by itself, would have it cut.
SHAPE = Shape(vocabulary=256, width=256, layers=LAYERS, heads=4, kv_heads=2, hidden=512, context=32)


class Counting:
    """A back end that compiles nothing: how many graphs it was given, and how often they were called."""

    graphs = calls = 0

    def __call__(self, graph: fx.GraphModule, _inputs: list[torch.Tensor]) -> Callable[..., Any]:
        self.graphs += 1

        def run(*inputs: Any) -> Any:
            self.calls += 1
            return graph(*inputs)

        return run


def made(recompute: bool = False) -> tuple[Decoder, Recipe]:
    recipe = Recipe(
        MICRO_BATCHES, MICRO_BATCHES, steps=1, stretch=1, rate=1e-3, warmup=1, recompute=recompute, loss_chunks=2
    )
    torch.manual_seed(0)
    return decoder(Preset("small", SHAPE, recipe), torch.device("cpu")), recipe


def trained(model: Decoder, recipe: Recipe, in_parts: bool = False) -> list[float]:
    rows = torch.randint(0, 256, (MICRO_BATCHES, 32), generator=torch.Generator().manual_seed(0))
    return pretrain(model, [(rows, rows, rows)], recipe, Settings(shard=in_parts))


def counted(in_parts: bool) -> tuple[int, int]:
    """A step of a job of one process."""
    model, recipe = made()
    counting = Counting()
    compiled(model, in_parts=in_parts, backend=counting)
    if in_parts:
        shard(model)
    trained(model, recipe, in_parts)
    return counting.graphs, counting.calls


def test_a_replica_is_one_graph_for_ddp_as_well() -> None:
    assert together(1, counted, False) == [(1, MICRO_BATCHES)]


def test_a_model_in_parts_is_one_graph_called_for_every_layer() -> None:
    assert together(1, counted, True) == [(1, LAYERS * MICRO_BATCHES)]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("products", [False, True])
def test_where_activations_are_recomputed_a_backward_hands_back_the_gradients_of_one_block(
    recompute: bool, products: bool
) -> None:
    handed_back: list[int] = []

    def forward(graph: fx.GraphModule, _inputs: list[torch.Tensor]) -> Callable[..., Any]:
        return make_boxed_func(graph.forward)

    def backward(graph: fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        (answers,) = graph.graph.find_nodes(op="output")[0].args
        handed_back.append(sum(each.meta["val"].numel() for each in answers if each is not None))
        return forward(graph, inputs)

    model, recipe = made(recompute)
    minimal = aot_autograd(fw_compiler=forward, bw_compiler=backward, partition_fn=min_cut_rematerialization_partition)
    compiled(model, in_parts=False, products=products, backend=minimal)
    loss, uncompiled = trained(model, recipe), trained(*made(recompute))
    assert loss == pytest.approx(uncompiled, rel=1e-6)
    stream = 32 * SHAPE.width  # what a block hands to the one before it
    assert max(handed_back) == (SHAPE.layer_parameters + stream if recompute else SHAPE.parameters)


def tuned(tuning: Tuning, backend: Counting | None = None, in_parts: bool = False) -> list[float]:
    """The losses of a small Llama, two conversations in a row."""
    transformers = library.transformers()
    config = transformers.LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=LAYERS, num_attention_heads=4
    )
    tokens = torch.randint(0, 256, (8, 32), generator=torch.Generator().manual_seed(0))
    positions = (torch.arange(32) % 20).expand(8, -1).contiguous()
    rows = Rows(tokens, positions, tokens.roll(-1, 1), conversations=16, too_long=0, filled=1.0)
    torch.manual_seed(0)
    model = AnswerLoss(adapt(transformers.LlamaForCausalLM(config), tuning))
    if in_parts:
        shard(model)
    if backend:
        finetuning.compiled(model, backend)
    return finetune(model, rows, tuning, Settings(shard=in_parts))


@pytest.mark.parametrize(
    ("method", "recompute", "graphs"),
    [("full", False, 1), ("full", True, 1), ("lora", True, 1), ("lora", False, 2)],  # what comes to the first is frozen
)
def test_a_model_of_transformers_is_one_graph_called_for_every_layer(method: Any, recompute: bool, graphs: int) -> None:
    tuning, counting = Tuning("", method=method, rank=4, batch=4, epochs=2, recompute=recompute), Counting()
    assert tuned(tuning, counting) == pytest.approx(tuned(tuning), rel=1e-6)
    assert counting.graphs == graphs
    assert counting.calls >= 4 * LAYERS  # steps; a layer that recomputes is called again


def tuned_in_parts() -> tuple[int, int]:
    counting = Counting()
    tuned(Tuning("", method="full", batch=4, epochs=2), counting, in_parts=True)
    return counting.graphs, counting.calls


def test_so_is_one_in_parts() -> None:
    assert together(1, tuned_in_parts) == [(1, 4 * LAYERS)]
