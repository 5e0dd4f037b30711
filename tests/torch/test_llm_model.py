"""The decoder computes what it says: the loss, the mask, the cache, and what is done to save memory changes nothing."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from workstation.errors import SettingError
from workstation.llm.data import supervised
from workstation.llm.model import IGNORED, Cache, Decoder, build
from workstation.llm.pretrain import decoder, pretrain
from workstation.llm.sample import PromptTooLongError, Sampling, generate
from workstation.llm.settings import PRESETS, Recipe, Shape
from workstation.training.settings import Settings

SHAPE = Shape(vocabulary=200, width=64, layers=2, heads=4, kv_heads=2, hidden=128, context=48)
RECIPE = Recipe(batch=4, accumulate=1, steps=1, stretch=1, rate=1e-2, warmup=1)


def made(device: torch.device, shape: Shape = SHAPE, **levers: int) -> Decoder:
    torch.manual_seed(0)
    return build(shape, device, **levers)


def drawn(device: torch.device, rows: int = 4, length: int = SHAPE.context, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, SHAPE.vocabulary, (rows, length), generator=generator).to(device)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("width", [64, 128, 768])
def test_an_untrained_model_knows_nothing_and_no_less(device: torch.device, width: int, tied: bool) -> None:
    shape = dataclasses.replace(SHAPE, vocabulary=2048, width=width, hidden=2 * width, tied=tied)
    loss = made(device, shape)(drawn(device), drawn(device, seed=1))
    assert loss.item() == pytest.approx(math.log(2048), abs=0.1)


def test_the_loss_is_cross_entropy_over_what_is_asked_for(device: torch.device) -> None:
    model, tokens, targets = made(device), drawn(device), drawn(device, seed=1)
    targets[1:, 10:] = IGNORED
    expected = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
    torch.testing.assert_close(model(tokens, targets), expected)


def test_masked_tokens_give_no_loss_and_no_gradient(device: torch.device) -> None:
    model = made(device)
    loss = model(drawn(device), torch.full((4, SHAPE.context), IGNORED, device=device))
    loss.backward()
    assert loss.item() == 0
    assert all(not weight.grad.any() for weight in model.parameters())


def test_no_token_sees_what_comes_after_it(device: torch.device) -> None:
    model, tokens = made(device), drawn(device)
    changed = tokens.clone()
    changed[:, 20:] = drawn(device, seed=1)[:, 20:]
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.equal(before[:, 20:], after[:, 20:])


def test_nothing_leaks_over_a_document_border(device: torch.device) -> None:
    model, tokens = made(device), drawn(device)
    borders = torch.arange(SHAPE.context, device=device).div(16, rounding_mode="floor").expand(4, -1)
    changed = tokens.clone()
    changed[:, :16] = drawn(device, seed=1)[:, :16]
    changed[:, 32:] = drawn(device, seed=1)[:, 32:]
    before, after = model(tokens, documents=borders), model(changed, documents=borders)
    assert torch.equal(before[:, 16:32], after[:, 16:32])
    assert not torch.equal(model(tokens)[:, 16:32], model(changed)[:, 16:32]), "without the mask it would"


def test_a_document_is_read_alike_alone_and_in_a_row(device: torch.device) -> None:
    model, tokens = made(device), drawn(device)
    borders = torch.arange(SHAPE.context, device=device).div(16, rounding_mode="floor").expand(4, -1)
    torch.testing.assert_close(
        model(tokens, documents=borders)[:, 16:32], model(tokens[:, 16:32]), rtol=1e-4, atol=1e-5
    )


def test_it_overfits_one_batch(device: torch.device) -> None:
    recipe = dataclasses.replace(RECIPE, steps=60, stretch=60, warmup=5)
    model, tokens = made(device), drawn(device)
    batch = (tokens[:, :-1], tokens[:, 1:], tokens[:, 1:])
    pretrain(model, [batch] * 60, recipe, Settings(device))
    assert model(*batch[:2]).item() < 0.02


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_accumulated_micro_batches_are_one_big_batch(device: torch.device, kind: str) -> None:
    targets = drawn(device, seed=1)
    targets[0, 3:] = IGNORED  # the parts weigh differently
    targets[3, :] = IGNORED
    models = []
    for accumulate in (1, 2, 4):
        recipe = dataclasses.replace(RECIPE, accumulate=accumulate, optimizer=kind)
        models.append(made(device).double())
        pretrain(models[-1], [(drawn(device), targets, targets)], recipe, Settings(device))
    for model in models[1:]:
        for one, parts in zip(models[0].parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(parts, one, rtol=0, atol=1e-6)


@pytest.mark.parametrize("levers", [{"recompute": True}, {"loss_chunks": 5}, {"recompute": True, "loss_chunks": 3}])
def test_levers_for_memory_change_neither_loss_nor_gradient(device: torch.device, levers: dict[str, int]) -> None:
    plain, saving = made(device), made(device, **levers)
    for model in (plain, saving):
        model(drawn(device), drawn(device, seed=1)).backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that is made."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.bytes = max(
            [self.bytes, *(each.untyped_storage().nbytes() for each in tree_leaves(made) if torch.is_tensor(each))]
        )
        return made


def test_evaluation_takes_no_more_memory_for_its_loss_than_training() -> None:
    shape = dataclasses.replace(SHAPE, vocabulary=20_000)  # so that the logits are the largest
    model, plain = (made(torch.device("cpu"), shape, loss_chunks=chunks) for chunks in (8, 1))
    tokens, targets = (drawn(torch.device("cpu"), rows=16, seed=seed) for seed in range(2))
    found = {}
    for name in ("train", "eval"):
        getattr(model, name)()
        with Largest() as largest, torch.set_grad_enabled(name == "train"):
            loss = model(tokens, targets)
        found[name] = largest.bytes
        torch.testing.assert_close(loss, plain(tokens, targets))
    assert found["eval"] <= found["train"] <= 16 * 48 * shape.padded_vocabulary * 4 / 8


@pytest.mark.parametrize("name", ["124m", "1.5b", "8b"])
def test_a_presets_training_pass_is_one_graph_for_the_compiler(name: str) -> None:
    preset = PRESETS[name]
    recipe = dataclasses.replace(preset.recipe, batch=2, accumulate=1)
    small = dataclasses.replace(preset, shape=dataclasses.replace(SHAPE, tied=preset.shape.tied), recipe=recipe)
    model, plain = decoder(small, torch.device("cpu")), decoder(small, torch.device("cpu"))
    plain.load_state_dict(model.state_dict())
    # The tracing of torch.compile without its code generation, which takes a CPU half a minute.
    model.compile(backend="aot_eager", fullgraph=True, dynamic=False)
    tokens = drawn(torch.device("cpu"), rows=2)
    losses = []
    for each in (model, plain):
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "mixed"):
            losses.append(each(tokens, tokens))
        losses[-1].backward()
    torch.testing.assert_close(*losses, rtol=1e-2, atol=1e-2)
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0.1, atol=0.01)


def test_one_head_of_keys_for_each_head_is_the_same_as_grouped_ones_repeated(device: torch.device) -> None:
    grouped, full = made(device), made(device, dataclasses.replace(SHAPE, kv_heads=4))
    weights = grouped.state_dict()
    for name, weight in weights.items():
        if name.endswith(("key.weight", "value.weight")):
            weights[name] = weight.view(2, 1, 16, 64).expand(2, 2, 16, 64).reshape(64, 64)
    full.load_state_dict(weights)
    torch.testing.assert_close(full(drawn(device)), grouped(drawn(device)), rtol=1e-4, atol=1e-5)


def test_the_cache_gives_the_logits_of_reading_all_again(device: torch.device) -> None:
    model, tokens = made(device).eval(), drawn(device)
    with torch.inference_mode():
        whole, cache = model(tokens), Cache.empty(model, rows=4)
        pieces = [model(piece, cache=cache) for piece in tokens.split([1, 20, 1, 5, 1, 20], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_sampling_with_the_cache_is_sampling_without(device: torch.device, temperature: float) -> None:
    model, told = made(device), Sampling(most=30, temperature=temperature, seed=7)
    cached, recomputed = (list(generate(model, [5, 6, 7], told, cached=cached)) for cached in (True, False))
    assert cached == recomputed
    assert len(cached) > 5


def test_sampling_stops_where_the_context_is_full_and_draws_no_padding(device: torch.device) -> None:
    model = made(device)
    found = list(generate(model, [9], Sampling(most=1000, temperature=5.0)))
    assert len(found) <= SHAPE.context - 2
    assert max(found) < SHAPE.vocabulary < SHAPE.padded_vocabulary


def test_a_prompt_that_leaves_no_room_is_refused(device: torch.device) -> None:
    with pytest.raises(PromptTooLongError, match="the prompt has 47 tokens, and the model reads 48"):
        next(generate(made(device), [1] * 47, Sampling()))


@pytest.mark.parametrize("name", PRESETS)
def test_the_arithmetic_of_a_preset_is_that_of_its_model(name: str) -> None:
    shape = PRESETS[name].shape
    model = build(shape, torch.device("meta"))  # no memory, whatever its size
    assert sum(weight.numel() for weight in model.parameters()) == shape.parameters
    assert model.embedding.weight.shape[0] % 128 == 0


def test_presets_are_what_their_names_say() -> None:
    sizes = {name: preset.shape.parameters for name, preset in PRESETS.items()}
    assert sizes["124m"] == pytest.approx(124e6, rel=0.01)
    assert sizes["350m"] == pytest.approx(350e6, rel=0.01)
    assert sizes["1.5b"] == pytest.approx(1.5e9, rel=0.01)
    assert sizes["8b"] == 8_030_261_248  # as Llama 3's


def test_a_shape_that_cannot_be_is_refused() -> None:
    with pytest.raises(SettingError, match="do not divide"):
        dataclasses.replace(SHAPE, heads=5)


def test_a_model_made_by_way_of_the_meta_device_is_a_model_made_directly() -> None:
    torch.manual_seed(0)
    direct = Decoder(SHAPE)
    torch.manual_seed(1)
    built = build(SHAPE, torch.device("cpu"))
    built.load_state_dict(direct.state_dict())
    tokens = drawn(torch.device("cpu"))
    assert torch.equal(built(tokens), direct(tokens)), "the tables of angles are no part of the state"


def test_supervised_counts_the_targets_that_are_asked_for() -> None:
    assert supervised(torch.tensor([[1, IGNORED], [IGNORED, 0]])) == 2
