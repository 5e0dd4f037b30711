"""Three ways to a smaller network, weighed on the same scales."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.examples import compression, shrinking
from workstation.examples.datasets import digits
from workstation.examples.distillation import Pair, distillation
from workstation.examples.scales import Scales
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings


@pytest.fixture(scope="module")
def full() -> Iterator[nn.Sequential]:
    """Trained a little: enough that one sees damage."""
    network = compression.full_network(Settings(epochs=4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    yield network
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items()), "it was changed"


@pytest.fixture(scope="module")
def scales() -> Scales:
    return Scales(seed=0)


@pytest.mark.slow
def test_each_way_keeps_the_accuracy_and_saves_bytes(settings: Settings) -> None:
    result = compression.run(settings)
    assert result.holds(), result


def test_a_run_cut_short_breaks_the_promise() -> None:
    assert not compression.run(Settings(epochs=1)).holds()


def weights(network: nn.Module) -> Tensor:
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    return torch.cat([layer.weight.flatten() for layer in layers])


def test_zeros_make_the_file_no_smaller_until_it_is_zipped(full: nn.Sequential, scales: Scales) -> None:
    before, after = scales.weigh(full), scales.weigh(compression.with_zeros(full, Settings(epochs=1)))
    assert after.bytes == before.bytes
    assert after.zipped < before.zipped / 2


def test_pruned_weights_stay_zero_while_the_others_learn(full: nn.Sequential) -> None:
    pruned = compression.with_zeros(full, Settings(epochs=1))
    kept = weights(pruned) != 0
    assert kept.double().mean().item() == pytest.approx(1 - compression.ZEROS, abs=1e-4)
    assert not torch.equal(weights(pruned)[kept], weights(full)[kept])


def test_pruning_without_repair_costs_accuracy(full: nn.Sequential, scales: Scales) -> None:
    damaged = scales.weigh(compression.with_zeros(full, Settings(), share=0.9, repair=False))
    assert damaged.accuracy < scales.weigh(full).accuracy - 0.1


def test_dropping_channels_that_say_nothing_changes_no_answer(full: nn.Sequential) -> None:
    silenced = compression.with_zeros(full, Settings(), share=0, repair=False).eval()
    with torch.no_grad():
        for convolution, norm in itertools.pairwise(silenced):
            if isinstance(convolution, nn.Conv2d):
                quiet = convolution.weight.abs().sum(dim=(1, 2, 3)).argsort()[: convolution.out_channels // 2]
                for values in (convolution.weight, convolution.bias, norm.weight, norm.bias):
                    values[quiet] = 0
        images = digits()[0][:50]
        small = shrinking.narrowed(silenced)
        assert torch.allclose(small(images), silenced(images), atol=1e-4)
        assert not torch.allclose(shrinking.narrowed(full)(images), full(images), atol=1)


def test_int8_weights_are_int8_and_cost_little_accuracy(full: nn.Sequential, scales: Scales) -> None:
    quantised = shrinking.quantised(full, digits()[0][:256])
    kinds = [value.dtype for name, value in quantised.state_dict().items() if name.startswith("_frozen")]
    assert kinds == [torch.int8] * 4
    assert scales.weigh(quantised).accuracy >= scales.weigh(full).accuracy - 0.02


def test_int8_that_was_shown_blank_pictures_is_lost(full: nn.Sequential, scales: Scales) -> None:
    blind = shrinking.quantised(full, torch.zeros(256, 1, 8, 8))
    assert scales.weigh(blind).accuracy < scales.weigh(full).accuracy - 0.2


def test_only_the_student_learns(full: nn.Sequential) -> None:
    seed_everything(0)
    pair = Pair(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), full).train()
    assert pair.student.training
    assert not pair.teacher.training
    pair.teacher.zero_grad()  # what its own training left
    images, classes = digits()
    distillation(pair(images[:8]), classes[:8]).backward()
    assert all(weight.grad is not None for weight in pair.student.parameters())
    assert all(weight.grad is None for weight in pair.teacher.parameters())


def test_distillation_is_the_formula_worked_out_by_hand() -> None:
    seed_everything(0)
    ours, example = torch.randn(2, 5, 10, dtype=torch.float64)
    classes = torch.arange(5)
    q, p = (ours / 4).softmax(1), (example / 4).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    expected = 0.5 * F.cross_entropy(ours, classes) + 0.5 * 16 * divergence
    assert distillation(torch.stack([ours, example]), classes).item() == pytest.approx(expected.item(), abs=1e-12)
    alike = distillation(torch.stack([ours, ours]), classes)
    assert alike.item() == pytest.approx(0.5 * F.cross_entropy(ours, classes).item(), abs=1e-12)
