"""Each chapter on two processes, as torchrun starts it: replicas (DDP) and parts (FSDP2), for one epoch.

With `--seeds 0`, as in CI, those that take long are left out (LONG in conftest.py).
"""

from __future__ import annotations

from typing import Any

import pytest
from processes import together

from workstation.examples.catalog import chapter
from workstation.training.metrics import as_numbers
from workstation.training.settings import Settings


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True], ids=["ddp", "fsdp2"])
def test_two_processes_bring_it_to_its_end(chapter_name: str, shard: bool) -> None:
    first, second = together(2, run_briefly, chapter_name, shard)
    assert isinstance(first, dict), first
    assert isinstance(second, dict), second
    assert first.keys() == second.keys() != set()


def run_briefly(name: str, shard: bool) -> dict[str, Any]:
    if name == "llm_finetune":  # `epochs` shortens its lesson, not the reading before it
        from workstation.examples import llm_finetune

        llm_finetune.READING = 1
    return as_numbers(chapter(name).load().run(Settings(epochs=1, shard=shard)))
