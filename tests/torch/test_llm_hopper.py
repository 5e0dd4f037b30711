"""What is compiled for an H200, without one: that it can be, and what it makes the GPU read and write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workstation.llm import memory
from workstation.llm.settings import PRESETS

pytestmark = pytest.mark.xdist_group("hopper")  # they share what is compiled
HERE = Path(__file__).parent
LAYER, BLOCK = ("124m", "--layers", "1", "--assemble"), ("8b", "--assemble")


@pytest.fixture(scope="session")
def compiled(one_gpu: dict[str, str]) -> Any:
    """Each half of a preset's training pass, forward and backward."""
    known: dict[tuple[str, ...], list[dict[str, Any]]] = {}

    def graphs(*arguments: str, script: str = "hopper.py") -> list[dict[str, Any]]:
        if (script, *arguments) not in known:
            ran = subprocess.run(
                [sys.executable, script, *arguments],
                cwd=HERE, env=os.environ | one_gpu, capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            assert ran.returncode == 0, ran.stderr
            known[script, *arguments] = [json.loads(line) for line in ran.stdout.splitlines()]
        return known[script, *arguments]

    return graphs


@pytest.mark.parametrize("arguments", [LAYER, ("1.5b", *LAYER[1:]), BLOCK], ids=lambda arguments: arguments[0])
def test_every_kernel_of_a_training_pass_is_assembled_for_an_h200(compiled: Any, arguments: tuple[str, ...]) -> None:
    for graph in compiled(*arguments):
        assert graph["operations"] > 0
        assert len(graph["spilled"]) > 3
        assert not any(graph["spilled"].values()), "registers that are spilled are memory that is read"


def test_a_layer_moves_no_more_than_its_parts_must(compiled: Any) -> None:
    """In tensors of a number a token and a unit of width, in bfloat16; `wide` of them where the feed-forward is wider.

    Forward: two sums with a norm read the stream and what is added to it, and write the stream and the norm's answer;
    queries and keys are turned; gate and up become one. Backward the same, and what comes back from query, key, value,
    gate and up is added up. A copy more, or a stream in float32, is two to twenty of them more.
    """
    shape, recipe = PRESETS["124m"].shape, PRESETS["124m"].recipe
    tensor = 2 * recipe.micro_batch * shape.context * shape.width
    wide = shape.hidden / shape.width
    weights = 1.5  # cast to bfloat16, their gradients from it; gains and angles
    for half, must in ((0, 8 + 4 + 3 * wide), (1, 8 + 3 + 4 + 5 * wide)):
        layer = compiled("124m", "--layers", "2")[half]["moved"] - compiled(*LAYER)[half]["moved"]
        assert must <= layer / tensor <= must + weights


def test_an_h200_computes_no_product_of_8b_twice_and_what_it_keeps_is_what_the_arithmetic_says(compiled: Any) -> None:
    preset = PRESETS["8b"]
    (forward, backward), (_, smaller) = compiled(*BLOCK), compiled("8b", "--memory", str(80 * 10**9))
    assert backward["operations"] == 2 * forward["operations"]
    assert 2.5 < smaller["operations"] / forward["operations"] < 3, "80 GB have no room for that"
    tokens = preset.recipe.micro_batch * preset.shape.context
    kept = tokens * memory.recomputed_bytes(preset.shape, memory.HALF, products=True)
    assert forward["answers"] == pytest.approx(kept, rel=0.01)


def test_a_compiled_layer_that_lora_tunes_moves_a_tenth_of_what_its_operations_do(compiled: Any) -> None:
    (moved,) = compiled(script="hopper_lora.py")
    assert 0 < moved["compiled"] < 0.1 * moved["operations"]
