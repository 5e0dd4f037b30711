"""Tensors, graphs, gradients: each claim of the article's §2 and §3 against what PyTorch does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from workstation.examples import tensors
from workstation.training.settings import Settings


@pytest.mark.slow
def test_the_promise_holds_for_every_seed(settings: Settings) -> None:
    result = tensors.run(settings)
    assert result.holds(), result
    assert result.graph_breaks == 1


def test_a_wrong_derivation_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = tensors.gradients_by_hand

    def forgets_the_factor_two(x: torch.Tensor, y: torch.Tensor, weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [gradient / 2 for gradient in right(x, y, weights)]

    monkeypatch.setattr(tensors, "gradients_by_hand", forgets_the_factor_two)
    assert tensors._gradient_error(torch.device("cpu")) > 1e-10


def test_the_graph_follows_the_value_of_the_input() -> None:
    positive, negative = (tensors.branch(torch.tensor(value, requires_grad=True)) for value in (2.0, -2.0))
    assert tensors.operations(positive) == ["ExpBackward0", "AccumulateGrad"]
    assert tensors.operations(negative) == ["PowBackward0", "AccumulateGrad"]


def test_finite_differences_lose_precision_where_autograd_does_not() -> None:
    errors = {power: tensors.finite_difference_error(10.0**-power) for power in (2, 5, 12)}
    assert errors[2] == pytest.approx(1.1e-4, rel=0.1)
    assert errors[5] < 1e-9
    assert errors[12] > 1e-5  # a smaller step is not a better one: rounding takes over
    x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(torch.sin(torch.exp(x)), x)
    assert slope.item() == (torch.cos(x.exp()) * x.exp()).item()


def test_a_branch_on_a_value_breaks_the_compiled_graph_and_where_does_not() -> None:
    x = torch.tensor(2.0)
    assert tensors.graph_breaks(tensors.branch, x) == 1
    assert tensors.graph_breaks(lambda x: torch.where(x > 0, x.exp(), x.square()), x) == 0


def test_autograd_grad_leaves_grad_empty_and_frees_the_graph() -> None:
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 1))
    loss = model(torch.randn(32, 10)).square().mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert [tuple(gradient.shape) for gradient in gradients] == [(10, 10), (10,), (1, 10), (1,)]
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_two_linear_layers_without_an_activation_are_one_affine_map() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(10, 10), nn.Linear(10, 1)
    x = torch.randn(32, 10)
    merged = x @ (second.weight @ first.weight).T + second(first.bias)
    assert torch.allclose(second(first(x)), merged, atol=1e-6)
    assert not torch.allclose(second(torch.relu(first(x))), merged, atol=1e-2)
    assert sum(parameter.numel() for parameter in [*first.parameters(), *second.parameters()]) == 121


def test_calling_forward_by_name_skips_the_hooks() -> None:
    model = nn.Linear(2, 2)
    heard = []
    model.register_forward_hook(lambda *_: heard.append("hook"))
    model.forward(torch.ones(1, 2))
    assert heard == []
    model(torch.ones(1, 2))
    assert heard == ["hook"]
