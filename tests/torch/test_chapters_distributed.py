"""Each chapter on two processes, as torchrun starts it: replicas (DDP) and parts (FSDP2), for one epoch."""

from __future__ import annotations

from typing import Any

import pytest
from processes import together

from workstation.examples.catalog import CHAPTERS, chapter
from workstation.training.metrics import as_numbers
from workstation.training.settings import Settings

# Ten seconds and more: left out where the chapters' promises are, too.
LONG = {"llm_finetune", "llm_pretrain", "llm_serve", "tensors", "detection", "compression", "tuning", "translation"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    briefly = metafunc.config.getoption("seeds") == 0
    names = [each.name for each in CHAPTERS if not (briefly and each.name in LONG)]
    metafunc.parametrize("shard", [False, True], ids=["ddp", "fsdp2"])
    metafunc.parametrize("name", names)


@pytest.mark.slow
def test_two_processes_bring_it_to_its_end(name: str, shard: bool) -> None:
    first, second = together(2, run_briefly, name, shard)
    assert isinstance(first, dict), first
    assert isinstance(second, dict), second
    assert first.keys() == second.keys() != set()


def run_briefly(name: str, shard: bool) -> dict[str, Any]:
    if name == "llm_finetune":  # `epochs` shortens its lesson, not the reading before it
        from workstation.examples import llm_finetune

        llm_finetune.READING = 1
    return as_numbers(chapter(name).load().run(Settings(epochs=1, shard=shard)))
