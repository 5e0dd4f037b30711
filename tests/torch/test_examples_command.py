"""`workstation examples`: what a person types, as a person would run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

MAIN = [sys.executable, "-c", "from workstation.cli import main; main()", "examples"]


@pytest.fixture
def examples(tmp_path: Path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOME": str(tmp_path)}
        return subprocess.run(
            [*MAIN, *arguments], capture_output=True, text=True, env=environment, timeout=120, check=False
        )

    return run


def test_list_names_every_example(examples) -> None:
    from workstation.examples.catalog import CHAPTERS

    listed = examples("list")
    assert listed.returncode == 0
    for chapter in CHAPTERS:
        assert chapter.name in listed.stdout


def test_a_run_that_holds_exits_0_and_keeps_its_metrics(examples, tmp_path: Path) -> None:
    ran = examples("run", "house_price", "--device", "cpu")
    assert ran.returncode == 0, ran.stderr
    assert "holds: the price of 1200" in ran.stdout
    report = json.loads((tmp_path / "runs/house_price/001/metrics.json").read_text())
    assert report["holds"]
    assert report["metrics"]["price_of_1200"] == pytest.approx(240_000, rel=0.01)


def test_a_run_that_does_not_hold_exits_1_and_says_so_in_one_line(examples, tmp_path: Path) -> None:
    ran = examples("run", "house_price", "--epochs", "1", "--out", str(tmp_path / "short"))
    assert ran.returncode == 1
    assert "does not hold: the price of 1200" in ran.stdout
    assert json.loads((tmp_path / "short/metrics.json").read_text())["holds"] is False


def test_json_is_the_only_thing_on_standard_output(examples) -> None:
    report = json.loads(examples("run", "house_price", "--json").stdout)
    assert report["example"] == "house_price"
    assert report["seed"] == 0


def test_a_run_can_be_resumed_with_the_settings_it_began_with(examples, tmp_path: Path) -> None:
    first = json.loads(examples("run", "house_price", "--seed", "5", "--out", str(tmp_path / "run"), "--json").stdout)
    again = json.loads(examples("run", "house_price", "--resume", str(tmp_path / "run"), "--json").stdout)
    assert again["seed"] == 5
    assert again["metrics"] == first["metrics"]
    for seed in ("6", "0"):
        refused = examples("run", "house_price", "--resume", str(tmp_path / "run"), "--seed", seed)
        assert refused.returncode == 2
        assert "--seed with --resume" in refused.stderr
    nothing = examples("run", "house_price", "--resume", str(tmp_path))
    assert nothing.returncode == 2
    assert "no run that can go on" in nothing.stderr


def test_a_run_stopped_by_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    arguments = [*MAIN, "run", "cnn", "--epochs", "1000", "--out", str(out)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 120
        while not list(out.glob("events.*")):  # the first epoch has begun
            assert running.poll() is None, running.stderr.read() if running.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said.strip().endswith(f"workstation examples run cnn --resume {out}")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "no_such"], "no example is called 'no_such'"),
        (["run", "house_price", "--epochs", "0"], "not a whole number of 1 or more"),
        (["run", "house_price", "--epochs", "-3"], "not a whole number"),
        (["run", "house_price", "--seed", "x"], "not a whole number"),
        (["run", "house_price", "--seed", str(2**32)], "not a whole number from 0 to 4294967295"),
        (["run", "house_price", "--device", "tpu"], "invalid choice"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named_with_exit_code_2(examples, arguments: list[str], says: str) -> None:
    ran = examples(*arguments)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: asking for one is no error")
def test_a_missing_gpu_is_an_error_not_a_silent_cpu_run(examples) -> None:
    ran = examples("run", "house_price", "--device", "cuda")
    assert ran.returncode == 69
    assert "sees no GPU" in ran.stderr


def test_naming_the_examples_imports_no_torch() -> None:
    probe = "import sys, workstation.examples.command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False, timeout=60).returncode == 0


def test_the_article_s_check_of_an_installation_is_no_module_and_what_there_is_instead_works(tmp_path: Path) -> None:
    """docs/article-map.md, claim 49. Whether `pip install` works for a user is tested from outside the image."""

    def said(*command: str) -> tuple[int, str]:
        environment = {**os.environ, "HOME": str(tmp_path)}
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
        return ran.returncode, ran.stdout + ran.stderr

    code, out = said(sys.executable, "-m", "torch_info")
    assert code != 0
    assert "No module named torch_info" in out
    for command in ([sys.executable, "-m", "torch.utils.collect_env"], [*MAIN[:-1], "doctor"]):
        code, out = said(*command)
        assert code == 0, out
        assert torch.__version__ in out
