"""A model in parts (FSDP2), where a CPU alone can show what a GPU would do to it."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from processes import together
from torch import nn

from workstation.training.parallel import shard


def test_a_model_on_the_cpu_stays_there_on_a_machine_with_gpus() -> None:
    """FSDP2 left to itself takes the machine's accelerator."""
    assert together(2, sharded_beside_an_accelerator) == ["cpu", "cpu"]


def sharded_beside_an_accelerator() -> str:
    def accelerator(*_: object) -> NoReturn:
        raise AssertionError("the machine was asked for its accelerator")

    torch._C._get_accelerator = accelerator
    model = nn.Linear(4, 4)
    shard(model)
    return next(model.parameters()).device.type


def test_the_weights_of_an_rnn_are_not_moved_away_from_where_they_are_gathered() -> None:
    assert together(2, flattened) == [0, 0]


def flattened() -> int:
    """How often a forward asks for it. On a CPU it does nothing; on a GPU cuDNN moves the weights."""
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    model = nn.Sequential(nn.Embedding(5, 4), nn.LSTM(4, 4))
    shard(model)
    nn.RNNBase.flatten_parameters = count
    model(torch.zeros(3, 2, dtype=torch.long))
    return calls
