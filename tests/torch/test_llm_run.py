"""A pre-training as a person meets it: it learns more than counting, goes on to the bit, and says what is wrong."""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from workstation.errors import SettingError
from workstation.llm import evaluate, mfu
from workstation.llm.corpus import Poems
from workstation.llm.data import TRAIN, VALIDATION, Data, Rows, Stretches
from workstation.llm.model import Decoder
from workstation.llm.prepare import prepare
from workstation.llm.pretrain import NAME, decoder, pretrain
from workstation.llm.run import Run, settings
from workstation.llm.settings import Preset, Recipe, Shape
from workstation.training.checkpoint import Checkpoints
from workstation.training.loop import DivergedError, Fit, Hook
from workstation.training.settings import Settings

CPU = torch.device("cpu")
SMALL = Preset(
    "small",
    Shape(vocabulary=512, width=32, layers=2, heads=2, kv_heads=1, hidden=64, context=32),
    Recipe(batch=4, accumulate=2, steps=8, stretch=4, rate=1e-2, warmup=2, optimizer="muon", masked=True),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return prepare(Poems(), tmp_path_factory.mktemp("data") / "poems", vocabulary=512)


@pytest.fixture(scope="module")
def finished(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that is over."""
    run = Run.new(SMALL, data, settings(SMALL, CPU, seed=0, amp=False), tmp_path_factory.mktemp("runs") / "finished")
    run.train()
    return run


class Stop(Hook):
    """Ctrl-C at a step."""

    def __init__(self, at: int) -> None:
        self._at = at

    def step(self, fit: Fit) -> None:
        if fit.step == self._at:
            raise KeyboardInterrupt


def train(preset: Preset, data: Data, *hooks: Hook, device: torch.device = CPU) -> tuple[Decoder, list[float]]:
    torch.manual_seed(0)
    recipe = preset.recipe
    model = decoder(preset, device)
    batches = Stretches(Rows(data, TRAIN, preset.shape.context), recipe.batch, recipe.stretch, masked=recipe.masked)
    return model, pretrain(model, batches, recipe, Settings(device), hooks)


# ----------------------------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("at", [2, 4, 7], ids=lambda at: f"step{at}")
def test_a_stopped_run_goes_on_to_the_same_bits(data: Data, tmp_path: Path, at: int, kind: str) -> None:
    preset = dataclasses.replace(SMALL, recipe=dataclasses.replace(SMALL.recipe, optimizer=kind))
    straight, losses = train(preset, data)
    with pytest.raises(KeyboardInterrupt):
        train(preset, data, Checkpoints(tmp_path, every_seconds=0), Stop(at))
    resumed, again = train(preset, data, Checkpoints(tmp_path, every_seconds=0))
    assert again == losses
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


def test_a_run_keeps_what_is_needed_to_use_it_without_its_data(finished: Run, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(finished.directory, moved)
    run = Run.stopped(moved, CPU)
    assert run.preset == finished.preset
    assert run.tokenizer.fingerprint == finished.tokenizer.fingerprint
    rows = Rows(finished.data, VALIDATION, 32)
    report = json.loads((moved / "metrics.json").read_text())
    again = evaluate.score(run.trained(), rows, run.tokenizer.byte_lengths(), run.settings, size=4)
    assert again.loss == pytest.approx(report["validation_loss"], rel=1e-6)


def test_a_run_cut_short_goes_on_to_the_same_result_and_the_whole_curve(
    data: Data, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workstation.llm.run.CHECKPOINT_SECONDS", 0)
    run = Run.new(SMALL, data, finished.settings, tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr("workstation.llm.run.NoGarbage", lambda: Stop(at=6))
        with pytest.raises(KeyboardInterrupt):
            run.train()
    assert not (run.directory / "metrics.json").exists()
    report = Run.stopped(run.directory, CPU).train()
    for kept in ("metrics.json", "validation.json"):
        told, straight = (json.loads((each.directory / kept).read_text()) for each in (run, finished))
        for number in ("training_loss", "validation_loss", "losses"):
            assert told.get(number) == straight.get(number)
    assert len(json.loads((run.directory / "validation.json").read_text())["losses"]) == 2
    assert report["seed"] == 0


def test_a_finished_run_is_not_run_again_over_its_result(finished: Run, llm) -> None:
    before = (finished.directory / "metrics.json").read_bytes()
    ran = llm("pretrain", "--resume", finished.directory)
    assert ran.code == 2
    assert f"{finished.directory} is finished" in ran.err
    finished.train()  # as torchrun may have it
    assert (finished.directory / "metrics.json").read_bytes() == before


def test_a_stopped_run_goes_on_where_its_data_went(
    data: Data, finished: Run, tmp_path: Path, llm, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data.directory, tmp_path / "first")
    run = Run.new(SMALL, Data(tmp_path / "first"), finished.settings, tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr("workstation.llm.run.NoGarbage", lambda: Stop(at=6))
        with pytest.raises(KeyboardInterrupt):
            run.train()
    (tmp_path / "first").rename(tmp_path / "second")
    assert llm("pretrain", "--resume", run.directory).code == 65
    ran = llm("pretrain", "--resume", run.directory, "--data", tmp_path / "second")
    assert ran.code == 0, ran.err
    ours, straight = (json.loads((each.directory / "metrics.json").read_text()) for each in (run, finished))
    assert ours["validation_loss"] == straight["validation_loss"]
    assert ours["data"] == str(tmp_path / "second")


def test_a_run_that_was_never_trained_is_no_model(data: Data, tmp_path: Path) -> None:
    run = Run.new(SMALL, data, Settings(), tmp_path / "new")
    with pytest.raises(SettingError, match="has no checkpoint yet"):
        run.trained()


# ---------------------------------------------------------------------------------------------------------- bad input


def test_a_loss_that_is_no_number_stops_names_the_step_and_keeps_the_last_good_model(
    data: Data, tmp_path: Path
) -> None:
    class Poison(Hook):
        def step(self, fit: Fit) -> None:
            if fit.step == 6:
                next(iter(fit.model.parameters())).data.fill_(float("nan"))

    with pytest.raises(DivergedError, match="step 7"):
        train(SMALL, data, Checkpoints(tmp_path, every_seconds=0), Poison())
    model = decoder(SMALL, CPU)
    assert Checkpoints(tmp_path).restore(model, NAME)
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_a_corpus_that_cannot_be_used_is_said_in_one_line(tmp_path: Path, llm) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    ran = llm("prepare", texts)
    assert (ran.code, ran.out) == (65, "")
    assert "texts holds 0 documents with text in them" in ran.err
    (texts / "new.txt").write_text("床前明月光")
    (texts / "old.txt").write_bytes("床前明月光".encode("gb18030"))
    ran = llm("prepare", texts)
    assert (ran.code, ran.out) == (65, "")
    assert "old.txt is not UTF-8" in ran.err
    assert not (tmp_path / "data").exists()


def test_a_disk_that_fills_leaves_no_half_of_the_data_and_no_half_of_a_model(data: Data, tmp_path: Path, llm) -> None:
    run, limits = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    told = ["pretrain", "--data", data.directory, "--steps", 1, "--out", run]
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # bytes of a file
        preparing, training = llm("prepare", "poems", "--out", tmp_path / "poems"), llm(*told)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert preparing.code == 73
    assert "cannot be written: " in preparing.err
    assert "None" not in preparing.err
    assert not list(tmp_path.glob("*poems*"))
    assert training.code == 65
    assert f"could not save to {run}" in training.err
    assert not list(run.glob("pretrain-*"))


def test_a_command_whose_loss_is_no_number_names_the_step_and_leaves_a_model_that_speaks(
    data: Data, tmp_path: Path, llm, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Poison(Hook):
        def step(self, fit: Fit) -> None:
            if fit.step == 2:
                next(iter(fit.model.parameters())).data.fill_(float("nan"))

    monkeypatch.setattr("workstation.llm.run.CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr("workstation.llm.run.ProgressBar", Poison)  # the last of the hooks: the second step is kept
    ran = llm("pretrain", "--data", data.directory, "--steps", 3, "--out", tmp_path / "run")
    assert ran.code == 70
    assert "pretrain: the loss is nan at step 3" in ran.err
    assert llm("sample", tmp_path / "run", "床前", "--tokens", 2).code == 0


def test_data_of_another_tokenizer_are_not_evaluated(finished: Run, tmp_path: Path, llm) -> None:
    prepare(Poems(), tmp_path / "other", vocabulary=300)
    ran = llm("evaluate", finished.directory, "--data", tmp_path / "other")
    assert ran.code == 65
    assert "another tokenizer than this model's" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["prepare", "nowhere"], 65, "no corpus is called 'nowhere'"),
        (["prepare", "hub:some/thing"], 69, "is not in the cache"),
        (["pretrain", "--data", "/nowhere"], 65, "no prepared data"),
        (["pretrain", "--steps", "0"], 2, "not a whole number"),
        (["pretrain", "--micro-batch", "3"], 2, "does not divide"),
        (["pretrain", "--preset", "8b"], 69, "What fits"),
        (["pretrain", "--resume", "/tmp", "--seed", "1"], 2, "--seed with --resume"),
        (["pretrain", "--resume", "/tmp", "--preset", "124m"], 2, "--preset with --resume"),
        (["pretrain", "--seed", "-1"], 2, "not a whole number from 0 to 4294967295"),
        (["pretrain", "--seed", "4294967296"], 2, "not a whole number from 0"),
        (["finetune", "MODEL", "--seed", "5000000000"], 2, "not a whole number from 0"),
        (["sample", "/tmp", "--seed", "1" + 23 * "0"], 2, "not a whole number from 0"),
        (["sample", "/tmp", "--temperature", "nan"], 2, "not a number of 0 or more"),
        (["sample", "/tmp", "--temperature", "-1"], 2, "not a number of 0 or more"),
        (["sample", "/tmp", "\udcff"], 2, "not UTF-8"),
        (["sample", "/tmp"], 2, "no language model"),
        (["evaluate", "/tmp"], 2, "no language model"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, llm, arguments: list[str], code: int, says: str
) -> None:
    ran = llm(*arguments)
    assert ran.code == code, ran.err
    assert says in ran.err
    assert not (tmp_path / "runs").exists(), "nothing was begun"
    assert not (tmp_path / "data").exists()


# ------------------------------------------------------------------------------------------------------- the commands


def test_from_poems_to_a_sample(tmp_path: Path, llm) -> None:
    assert "15 documents" in llm("prepare", "poems", "--out", tmp_path / "poems").out
    ran = llm("pretrain", "--data", tmp_path / "poems", "--steps", 2, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert mfu.FORMULA in ran.out
    measured = json.loads(llm("evaluate", tmp_path / "run", "--json").out)
    assert measured["trained"]["loss"] < measured["untrained"]["loss"]
    assert set(measured) == {"every token as likely", "untrained", "5-grams of the training text", "trained"}
    said = llm("sample", tmp_path / "run", "床前", "--tokens", 8).out
    assert said.startswith("床前")
    assert said == llm("sample", tmp_path / "run", "床前", "--tokens", 8).out
    assert llm("export", tmp_path / "run", "--out", tmp_path / "model").code == 0
    assert llm("sample", tmp_path / "model", "床前", "--tokens", 8).out == said
    own, left = (llm("evaluate", tmp_path / name, "--data", "poems", "--json").out for name in ("run", "model"))
    assert own == left
    # Not yet the same: two steps do not teach it that the rows which pad its vocabulary never come.
    assert json.loads(own)["the model"] == pytest.approx(measured["trained"], rel=0.05)
    ran = llm("evaluate", tmp_path / "model", "--data", tmp_path / "poems")
    assert ran.code == 2
    assert "Name the text itself" in ran.err


def test_help_imports_no_torch() -> None:
    probe = "import sys, workstation.cli; workstation.cli.parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False, timeout=60).returncode == 0
