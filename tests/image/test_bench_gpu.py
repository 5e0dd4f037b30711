"""`make bench-gpu` is ready for the day that a GPU is there: every row's code runs, shrunk, on this machine's CPU."""

from __future__ import annotations

import re
from pathlib import Path

from lab import run

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = {str(ROOT): {"bind": "/repo", "mode": "ro"}}

LOAD = """
import importlib.util, sys
sys.path[:0] = ['/repo/scripts/bench-gpu', '/repo/src']
def load():
    spec = importlib.util.spec_from_file_location('bench', '/repo/scripts/bench-gpu/__main__.py')
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    return bench
"""
# What is neither PyTorch's nor needed by it is not to be found.
ABSENT = """
import importlib.metadata
import numpy, torch._dynamo, torch.distributed.checkpoint, torch.distributed.fsdp
there = importlib.metadata.packages_distributions()
absent = {name for name, whose in there.items() if 'torch' not in whose} - sys.modules.keys() - {'workstation'}
assert {'transformers', 'peft', 'tokenizers', 'sklearn', 'rich'} <= absent
sys.modules.update(dict.fromkeys([*absent, 'tqdm']))  # which PyTorch takes where it is
load()
"""
LEFTOVERS = """
import weakref
load()
import processes
from workstation.llm.pretrain import compiled
made, graphs, alive, decoder = [], [], [], processes.decoder
def counting(graph, _):
    graphs[-1] += 1
    return graph
def noted(preset, on):
    alive.append(sum(each() is not None for each in made))
    graphs.append(0)
    model = decoder(preset, on)
    compiled(model, in_parts=False, backend=counting)
    made.append(weakref.ref(next(model.parameters())))
    return model
processes.decoder = noted
processes.overhead('cpu', 2, True)
print(alive, graphs)
"""
SMALL_GPU = """
import argparse, types
import torch
bench, asked = load(), argparse.Namespace(dry_run=False, steps=2, preset=['8b'])
bench.in_a_process = lambda name, row, asked: bench.measure(bench.PARTS[name], row, asked)
torch.cuda.get_device_properties = lambda _: types.SimpleNamespace(total_memory=16 * 2**30)
torch.cuda.get_device_name = lambda: 'a small GPU'
def full(*_):
    raise torch.OutOfMemoryError('CUDA out of memory')
bench.adaptation.tuned = full
print([bench.table(name, asked) for name in ('pretraining', 'adaptation')])
try:
    bench.processes.of('1.5b', 2, False)
except bench.MemoryTooSmallError as error:
    print(error)
"""


def bench(image: str, *arguments: str) -> tuple[int, str]:
    one = {"OMP_NUM_THREADS": "1"}  # shapes this small are not worth a second thread
    command = ("python", "/repo/scripts/bench-gpu", *arguments)
    ended = run(image, *command, environment=one, volumes=CHECKOUT, shm_size="1g")
    return ended.code, ended.output


def probe(image: str, code: str) -> str:
    """What `code` says that has the benchmark at hand."""
    ended = run(image, "python", "-c", LOAD + code, environment={"OMP_NUM_THREADS": "1"}, volumes=CHECKOUT)
    assert ended.code == 0, ended.output
    return ended.output


def test_it_needs_nothing_but_torch_and_numpy(image: str) -> None:
    assert probe(image, ABSENT) == ""


def test_a_model_is_measured_when_the_one_before_it_is_gone_and_in_a_graph_of_its_own(image: str) -> None:
    assert probe(image, LEFTOVERS).splitlines()[-1] == "[0, 0, 0] [1, 1, 1]"


def test_a_row_that_the_gpu_has_no_memory_for_says_why_and_fails_nothing(image: str) -> None:
    output = probe(image, SMALL_GPU)
    assert re.search(r"\| 8b \| preset 8b needs .* and a small GPU has 14.7 GiB to give", output), output
    assert "| lora | lora does not fit this GPU" in output
    assert "[False, False]" in output, "none failed"
    assert "preset 1.5b needs" in output, "many processes ask as well"


def test_every_row_of_the_gpu_benchmark_runs_without_a_gpu_and_what_it_trains_learns(image: str) -> None:
    code, output = bench(image, "--dry-run", "--steps", "2")
    assert code == 0, output
    assert re.match(r"Python 3[\d.]+, torch 2\S+, CUDA \S+, cuDNN \S+, driver \S+; ", output), output
    rows = [line for line in output.splitlines() if "dry run" in line]
    assert len(rows) == 14, output
    losses = re.findall(r"([0-9.]+) → ([0-9.]+)", output)
    assert len(losses) == 7, output
    assert all(float(last) < float(first) for first, last in losses), output


def test_a_row_that_fails_is_named_and_fails_the_benchmark(image: str) -> None:
    code, output = bench(image, "--dry-run", "--only", "pretraining", "--preset", "124m", "--steps", "0")
    assert code == 1
    assert "| 124m | failed: what it said is above |" in output


def test_without_a_gpu_the_benchmark_says_so(image: str) -> None:
    code, output = bench(image)
    assert code == 69
    assert output.startswith("bench-gpu: "), output
