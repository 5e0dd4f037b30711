"""A pre-training as a person meets it: it learns more than counting, goes on to the bit, and says what is wrong."""

from __future__ import annotations

import dataclasses
import json
import math
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from workstation.errors import SettingError
from workstation.llm import evaluate, memory, mfu
from workstation.llm.corpus import Poems
from workstation.llm.data import TRAIN, VALIDATION, Data, Rows, Stretches
from workstation.llm.model import Decoder, build
from workstation.llm.ngram import NGram
from workstation.llm.prepare import prepare
from workstation.llm.pretrain import NAME, decoder, pretrain
from workstation.llm.run import Run, settings
from workstation.llm.settings import PRESETS, Preset, Recipe, Shape
from workstation.llm.tokens import Tokenizer
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


def test_a_run_that_was_never_trained_is_no_model(data: Data, tmp_path: Path) -> None:
    run = Run.new(SMALL, data, Settings(), tmp_path / "new")
    with pytest.raises(SettingError, match="has no checkpoint yet"):
        run.trained()


# ---------------------------------------------------------------------------------------------------------- measuring


def test_loss_perplexity_and_bits_per_byte_are_one_number_in_three_units() -> None:
    score = evaluate.Score(nats=8 * math.log(2), tokens=4, bytes=2)
    assert score.loss == pytest.approx(2 * math.log(2))
    assert score.perplexity == pytest.approx(4)
    assert score.bits_per_byte == pytest.approx(4)


def test_a_score_does_not_depend_on_how_the_rows_are_cut(data: Data) -> None:
    torch.manual_seed(0)
    model = build(SMALL.shape, CPU)
    lengths = Tokenizer.load(data.directory).byte_lengths()
    scores = [evaluate.score(model, Rows(data, VALIDATION, 32), lengths, Settings(), size=size) for size in (1, 5, 64)]
    for score in scores:
        assert score.nats == pytest.approx(scores[0].nats, rel=1e-5)
        assert score.tokens == data.about.tokens[VALIDATION]
        assert score.bytes == data.about.bytes[VALIDATION]


def test_an_n_gram_models_probabilities_add_up_to_one() -> None:
    text = np.random.default_rng(0).integers(0, 6, 200)
    model = NGram.count([text], vocabulary=6, order=3)
    for history in ([], [1], [2, 3], [5, 5], [4, 0]):
        every = [model.losses([np.array([*history, token])])[-1] for token in range(6)]
        assert np.exp(-np.array(every)).sum() == pytest.approx(1)


def test_an_n_gram_model_is_kneser_ney_worked_out_by_hand() -> None:
    # "a b a c" twice over: after a come b and c, twice each; b and c each follow one token, a follows three things.
    text = np.array([0, 1, 0, 2, 0, 1, 0, 2])
    model = NGram.count([text], vocabulary=3, order=2)
    # Bigrams: ^a 1, ab 2, ba 2, ac 2, ca 1. Seen once: 2, twice: 3, so D = 2 / (2 + 6) = 1/4.
    # Unigrams by what came before: a 3, b 1, c 1. Once: 2, twice: 0, so D = 1; three kinds; uniform over 3.
    lower_b = (1 - 1) / 5 + 1 * 3 / 5 * (1 / 3)
    expected = (2 - 1 / 4) / 4 + (1 / 4) * 2 / 4 * lower_b
    assert math.exp(-model.losses([np.array([0, 1])])[1]) == pytest.approx(expected)


def test_longer_memory_predicts_a_text_with_memory_better() -> None:
    text = np.tile(np.array([0, 1, 2, 0, 2, 1]), 50)  # the next token follows from the last two
    one, two, three = (NGram.count([text], 3, order).losses([text[:60]]).mean() for order in (1, 2, 3))
    assert one > two > 3 * three


def test_too_large_a_vocabulary_is_not_counted() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        NGram.count([np.array([1, 2])], 10_000, 5)


# --------------------------------------------------------------------------------------------------------- arithmetic


def test_mfu_counts_six_operations_a_weight_and_attention_whole() -> None:
    shape = PRESETS["124m"].shape
    weights = 12 * (4 * 768 * 768 + 3 * 768 * 2048) + 50_304 * 768
    assert mfu.multiplied(shape) == weights
    assert mfu.flops_per_token(shape, 1024) == 6 * weights + 12 * 12 * 768 * 1024
    assert mfu.mfu(989e12 / mfu.flops_per_token(shape, 1024), shape, 1024, 989e12) == pytest.approx(1)
    untied = dataclasses.replace(shape, tied=False)
    assert mfu.multiplied(untied) == weights, "an embedding is looked up, not multiplied"


def test_a_gpu_of_no_known_peak_gets_no_mfu() -> None:
    assert mfu.peak("cuda (NVIDIA H200)") == 989e12
    assert mfu.peak("cpu (2 threads)") is None


class OneKernel(torch.autograd.Function):
    """A norm that keeps its input alone, as a GPU's kernel does; on a CPU PyTorch puts it together out of several."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x)
        return torch.nn.functional.rms_norm(x, weight.shape, weight)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", ["124m", "1.5b"])
def test_the_memory_arithmetic_is_what_autograd_keeps(
    name: str, recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.RMSNorm, "forward", lambda norm, x: OneKernel.apply(x, norm.weight))
    whole = PRESETS[name].shape
    less = {"vocabulary": 1024, "layers": 3, "context": 128, "width": whole.width // 4, "hidden": whole.hidden // 4}
    shape = dataclasses.replace(whole, **less)
    recipe = Recipe(2, 1, 1, 1, rate=0, warmup=1, precision="bfloat16", recompute=recompute)
    model = build(shape, CPU, dtype=torch.bfloat16, recompute=recompute)
    kept = {weight.data_ptr(): 0 for weight in (*model.parameters(), *model.buffers())}
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        alive.append(tensor)  # so that no other takes its address
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    tokens = torch.zeros(2, 128, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(tokens, tokens)
    expected = memory.need(shape, recipe).activations
    if recompute:  # one layer is computed again in the backward pass, and not here
        expected -= 256 * memory.layer_bytes(shape, memory.HALF)
    else:  # a CPU's attention answers in another order of its axes, and the copy in the right order is kept as well
        expected += 3 * 256 * memory.HALF * shape.width
    shares = 256 * shape.padded_vocabulary * memory.FULL  # of the loss: what is left of the logits
    assert sum(kept.values()) - shares == pytest.approx(expected, rel=0.05)


def test_a_gpu_too_small_is_told_what_fits_before_anything_starts() -> None:
    big = PRESETS["1.5b"]
    with pytest.raises(memory.MemoryTooSmallError, match=r"--micro-batch \d+ fits"):
        memory.must_fit(big, 40 * 2**30, "a GPU of 40 GiB")
    with pytest.raises(memory.MemoryTooSmallError, match="What fits: tiny, 124m, 350m"):
        memory.must_fit(big, 16 * 2**30, "a GPU of 16 GiB")
    memory.must_fit(PRESETS["8b"], 141 * 10**9, "an H200")
    memory.must_fit(PRESETS["124m"], 80 * 10**9, "an H100")


def test_the_micro_batch_that_is_said_to_fit_fits() -> None:
    preset, usable = PRESETS["350m"], 16 * 2**30
    rows = memory.largest_micro_batch(preset, usable)
    assert 1 <= rows < preset.recipe.micro_batch
    for more, fits in [(1, True), (2, False)]:
        recipe = dataclasses.replace(preset.recipe, accumulate=preset.recipe.batch // (rows * more))
        assert (memory.need(preset.shape, recipe).total <= usable) == fits


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


def test_too_long_a_prompt_says_how_long_it_may_be(finished: Run, llm) -> None:
    ran = llm("sample", finished.directory, "床前明月光" * 20)
    assert ran.code == 2
    assert "and the model reads 32 in all" in ran.err


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
        (["sample", "/tmp"], 2, "no language model"),
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


def test_measuring_a_gpu_needs_nothing_but_torch_and_numpy() -> None:
    probe = """if True:
        import sys
        sys.modules.update(dict.fromkeys(("tokenizers", "datasets", "transformers", "tqdm", "rich", "tensorboard")))
        import workstation.llm.pretrain, workstation.llm.watch"""
    assert subprocess.run([sys.executable, "-c", probe], check=False, timeout=60).returncode == 0


def test_help_imports_no_torch() -> None:
    probe = "import sys, workstation.cli; workstation.cli.parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False, timeout=60).returncode == 0
