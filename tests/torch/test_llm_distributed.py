"""`workstation llm finetune` and `pretrain` under torchrun: two processes learn what one does, and one writes it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from command_line import Ran, workstation
from processes import SECONDS, context, environment, free_port
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from workstation.llm import export, tuning
from workstation.llm.corpus import Poems
from workstation.llm.data import Data
from workstation.llm.model import Block, Places
from workstation.llm.prepare import prepare
from workstation.llm.run import Run
from workstation.llm.run import settings as pretraining
from workstation.llm.settings import Preset, Recipe, Shape
from workstation.llm.tokens import Tokenizer
from workstation.training import distributed
from workstation.training.loop import Fit, Hook

EXACT = 1e-6
MEASURES = ("loss_before", "loss_after", "loss_with_anothers_question")
SMALL = Preset(
    "small",
    Shape(vocabulary=400, width=32, layers=2, heads=2, kv_heads=1, hidden=64, context=32),
    Recipe(batch=6, accumulate=3, steps=8, stretch=4, rate=1e-3, warmup=2, masked=True),
)
MUON = replace(SMALL, name="muon", recipe=replace(SMALL.recipe, optimizer="muon"))
LONGER = {"steps": 50, "stretch": 25}
ADAMW_LONGER = replace(SMALL, name="adamw longer", recipe=replace(SMALL.recipe, **LONGER))
MUON_LONGER = replace(MUON, name="muon longer", recipe=replace(MUON.recipe, rate=8e-3, **LONGER))
# Muon makes its matrices orthogonal in bfloat16, and so a larger difference of a last bit: the more, the longer.
CLOSE = {"half": 1e-3, "muon ddp": 1e-5, "muon fsdp2": 1e-5, "muon ddp, longer": 1e-3}
PRETRAININGS = [  # directory, preset, --shard, --amp; the second as torchrun starts it after a failure
    ("ddp", SMALL, False, False),
    ("ddp", SMALL, False, False),
    ("fsdp2", SMALL, True, False),
    ("muon ddp", MUON, False, False),
    ("muon fsdp2", MUON, True, False),
    ("adamw ddp, longer", ADAMW_LONGER, False, False),
    ("muon ddp, longer", MUON_LONGER, False, False),
    ("half", SMALL, True, True),
]
WAYS = {"lora": ["--method", "lora"], "full": ["--method", "full"], "sharded": ["--method", "full", "--shard"]}


class SigtermAt(Hook):
    """The machine is taken away during a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def step(self, fit: Fit) -> None:
        if fit.step == self._step:
            signal.raise_signal(signal.SIGTERM)


def as_rank(rank: int, ports: list[int], commands: list[list[object]], stopped: list[int]) -> list[Ran]:
    """The commands one after another, as torchrun starts them; those in `stopped` get a SIGTERM at their third step."""
    ran = []
    for number, (port, arguments) in enumerate(zip(ports, commands, strict=True)):
        os.environ |= environment(rank, 2, port) | {"TORCHELASTIC_RUN_ID": "job", "HF_HUB_OFFLINE": "1"}
        with pytest.MonkeyPatch.context() as patch:
            if number in stopped:
                patch.setattr(tuning, "ProgressBar", lambda: SigtermAt(3))  # which rank 0 alone has
            ran.append(workstation("llm", *arguments))
        if dist.is_initialized():  # after an error: the process would have ended
            dist.destroy_process_group()
    return ran


def pretrained(directory: Path, preset: Preset, shard: bool = False, amp: bool = False) -> dict[str, Any]:
    computed, seen, added = Block.forward, set(), set()

    def noted(block: Block, x: torch.Tensor, places: Places, *cache: Any) -> torch.Tensor:
        weight = block.feed.gate.weight
        seen.add((weight.dtype, places.cosine.dtype))
        added.add(weight.grad is not None)
        return computed(block, x, places, *cache)

    with distributed.joined("cpu") as on, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Block, "forward", noted)
        told = pretraining(preset, on, seed=0, amp=amp, shard=shard)
        return Run.new(preset, Data(directory.parent / "data"), told, directory).train() | {
            "seen": seen,
            "added": added,
        }


def pretrained_as_rank(rank: int, ports: list[int], directory: Path) -> list[dict[str, Any]]:
    reports = []
    for port, (name, *told) in zip(ports, PRETRAININGS, strict=True):
        os.environ |= environment(rank, 2, port) | {"TORCHELASTIC_RUN_ID": "job"}
        reports.append(pretrained(directory / name, *told))
    return reports


Ranks = Callable[..., list[tuple[Any, Any]]]


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    """Two processes, which import transformers once: what each of `times` jobs came to on rank 0 and on rank 1."""
    with ProcessPoolExecutor(2, mp_context=context) as pool:

        def on_both(times: int, work: Callable[..., list[Any]], *arguments: Any) -> list[tuple[Any, Any]]:
            ports = [free_port() for _ in range(times)]
            running = [pool.submit(work, rank, ports, *arguments) for rank in range(2)]
            return list(zip(*(each.result(times * SECONDS) for each in running), strict=True))

        yield on_both


@dataclass(frozen=True)
class Job:
    """The same fine-tunings by one process and by two."""

    home: Path
    ran: dict[str, tuple[Ran, Ran]]

    def report(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / name / "metrics.json").read_text())
        return found

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        (file,) = (self.home / name / "model").glob("*.safetensors")
        return load_file(file)


@pytest.fixture(scope="module")
def job(ranks: Ranks, tmp_path_factory: pytest.TempPathFactory) -> Job:
    home = tmp_path_factory.mktemp("home")
    model, data = home / "untrained", home / "poems.jsonl"
    poems = [poem.text.strip().split("\n") for poem in Poems().documents()][:60]
    talks = [  # answers of one line and of many: the rows ask for different numbers of tokens
        {"messages": [{"role": "user", "content": title}, {"role": "assistant", "content": "".join(lines)}]}
        for title, *lines in poems
    ]
    data.write_text("\n".join(json.dumps(talk, ensure_ascii=False) for talk in talks), encoding="utf-8")
    fast = export.as_transformers(Tokenizer.learn(("\n".join(poem) for poem in poems), 400), 96)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=96, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(model)
    fast.save_pretrained(model)
    told = ["finetune", model, "--data", data, "--batch", 6, "--accumulate", 3, "--epochs", 2, "--rate", "1e-3"]
    for name in ("lora", "full"):
        assert workstation("llm", *told, *WAYS[name], "--out", home / f"{name}-alone").code == 0
    commands = {name: [*told, *way, "--out", home / name] for name, way in WAYS.items()}
    commands |= {"lora-stopped": [*told, *WAYS["lora"], "--out", home / "lora-again"]}
    commands |= {"lora-again": commands["lora-stopped"]}  # torchrun starts the same command once more
    commands |= {"full-stopped": [*told, *WAYS["full"], "--out", home / "full-again"]}
    commands |= {"full-again": ["finetune", "--resume", home / "full-again"]}
    commands |= {"qlora": [*told, "--method", "qlora", "--out", home / "qlora"]}
    commands |= {"refused": [*told, *WAYS["lora"], "--shard", "--out", home / "refused"]}
    stopped = [number for number, name in enumerate(commands) if name.endswith("stopped")]
    ran = ranks(len(commands), as_rank, list(commands.values()), stopped)
    return Job(home, dict(zip(commands, ran, strict=True)))


@pytest.mark.parametrize("name", WAYS)
def test_two_processes_learn_what_one_does(job: Job, name: str) -> None:
    alone, both = job.report(f"{'lora' if name == 'lora' else 'full'}-alone"), job.report(name)
    assert (alone["processes"], both["processes"]) == (1, 2)
    assert both["training_losses"] == pytest.approx(alone["training_losses"], rel=EXACT)
    for measure in MEASURES:
        assert both[measure] == pytest.approx(alone[measure], rel=EXACT), measure
    assert both["loss_after"] < both["loss_before"] - 0.001


@pytest.mark.parametrize("name", WAYS)
def test_the_model_that_rank_0_keeps_is_whole(job: Job, name: str) -> None:
    alone, both = job.weights(f"{'lora' if name == 'lora' else 'full'}-alone"), job.weights(name)
    assert alone.keys() == both.keys()
    assert all(torch.allclose(both[each], alone[each], rtol=0, atol=1e-5) for each in alone)


@pytest.mark.parametrize("name", WAYS)
def test_one_process_speaks_and_writes(job: Job, name: str) -> None:
    first, second = job.ran[name]
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert "held-out conversations" in first.out
    assert second.out == ""
    assert len(list((job.home / name).glob("events.*"))) == len(list((job.home / name).glob("finetune-*"))) == 1


@pytest.mark.parametrize("name", ["lora", "full"])
def test_a_job_whose_machine_was_taken_away_goes_on_to_the_same_bits(job: Job, name: str) -> None:
    stopped, again = job.ran[f"{name}-stopped"], job.ran[f"{name}-again"]
    assert all("stopped by SIGTERM at step 4 of finetune, which is saved" in each.err for each in stopped)
    assert [each.code for each in again] == [0, 0], again[0].err
    undisturbed, resumed = job.report(name), job.report(f"{name}-again")
    assert all(resumed[each] == undisturbed[each] for each in ("training_losses", *MEASURES))
    first, second = job.weights(name), job.weights(f"{name}-again")
    assert all(torch.equal(first[each], second[each]) for each in first)


def test_frozen_weights_that_no_process_can_send_are_not_sent(job: Job) -> None:
    assert [each.code for each in job.ran["qlora"]] == [0, 0], job.ran["qlora"][0].err
    assert job.report("qlora")["loss_after"] < job.report("qlora")["loss_before"]


def test_what_cannot_be_sharded_is_said_before_a_directory_is_made(job: Job) -> None:
    assert [each.code for each in job.ran["refused"]] == [2, 2]
    assert all("--shard with lora" in each.err for each in job.ran["refused"])
    assert not (job.home / "refused").exists()


def test_two_processes_pre_train_what_one_does_and_a_job_started_again_goes_on_in_its_directory(
    ranks: Ranks, tmp_path: Path
) -> None:
    prepare(Poems(), tmp_path / "data", vocabulary=400)
    presets = (SMALL, MUON, ADAMW_LONGER, MUON_LONGER)
    alone = {preset.name: pretrained(tmp_path / preset.name, preset) for preset in presets}
    jobs = ranks(len(PRETRAININGS), pretrained_as_rank, tmp_path)
    for (name, preset, sharded, half), both in zip(PRETRAININGS, jobs, strict=True):
        for report in both:
            precision = torch.bfloat16 if half else torch.float32
            assert report["seen"] == {(precision, torch.float32)}, "what is gathered and computed with; and the angles"
            assert not (sharded and True in report["added"]), "a gradient waits for the next micro-batch's, whole"
            for measure in ("training_loss", "validation_loss"):
                expected = alone[preset.name][measure]
                assert report[measure] == pytest.approx(expected, rel=CLOSE.get(name, EXACT)), name
    assert len(list((tmp_path / "ddp").glob("events.*"))) == 2, "the second job went on in the directory of the first"
    assert [each.name for each in (tmp_path / "ddp").glob("pretrain-*")] == ["pretrain-000002-000000"]
