"""Everything is moved to the device that was asked for, and back before NumPy or a person reads it.

On a machine without a GPU: other_device.py says what is put in its place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
Ran = subprocess.CompletedProcess[str]
Command = Callable[..., Ran]


@pytest.fixture
def python(one_gpu: dict[str, str], tmp_path: Path) -> Command:
    def run(*arguments: object) -> Ran:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=HERE,
            env=os.environ
            | one_gpu
            | {
                "HOME": str(tmp_path),
                "HF_HUB_OFFLINE": "1",
                "TORCHDYNAMO_DISABLE": "1",  # there is nothing to compile for
            },
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def workstation(python: Command) -> Command:
    return lambda *arguments: python("other_device.py", *arguments)


def last_line(ran: Ran) -> str:
    return ran.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "mistake",
    [
        "here + there",
        "torch.nn.Linear(3, 3)(there)",
        "torch.nn.Linear(3, 3).to(device)(here)",
        "torch.cat([here, there])",
        "there.numpy()",
        "torch.randn(3, device=device, generator=torch.Generator())",
        "torch.nn.functional.cross_entropy(there, torch.tensor([0, 1]))",
    ],
)
def test_what_a_gpu_refuses_is_refused(python: Command, mistake: str) -> None:
    program = f"""if True:
        import torch
        from other_device import other_device
        with other_device() as device:
            here, there = torch.ones(2, 3), torch.ones(2, 3, device=device)
            assert (there + there.to(device) + here.cuda() + torch.tensor(1.0)).sum().item() == 24
            print("as on a GPU so far")
            {mistake}"""
    ran = python("-c", program)
    assert (ran.returncode, ran.stdout) == (1, "as on a GPU so far\n"), ran.stderr
    assert last_line(ran).startswith(("RuntimeError: ", "TypeError: ")), ran.stderr


@pytest.mark.slow
def test_a_chapter_moves_all_that_it_computes_with(workstation: Command, tmp_path: Path, chapter_name: str) -> None:
    ran = workstation(
        "examples", "run", chapter_name, "--device", "cuda", "--amp", "--epochs", 1, "--out", tmp_path / "run"
    )
    assert "Traceback" not in ran.stderr, ran.stderr[-2000:]
    assert (tmp_path / "run" / "metrics.json").exists(), ran.stderr
    assert "a GPU that is not there" in ran.stdout


@pytest.mark.slow
def test_a_language_model_passes_through_every_command(workstation: Command, tmp_path: Path) -> None:
    def llm(*arguments: object) -> str:
        ran = workstation("llm", *arguments)
        assert ran.returncode == 0, ran.stderr[-2000:]
        return ran.stdout

    data, run, model, tuned = (tmp_path / name for name in ("data", "run", "model", "tuned"))
    llm("prepare", "poems", "--out", data)
    assert "a GPU that is not there" in llm("pretrain", "--data", data, "--steps", 2, "--device", "cuda", "--out", run)
    llm("evaluate", run, "--device", "cuda")
    assert llm("sample", run, "床前", "--tokens", 4, "--device", "cuda").startswith("床前")
    llm("export", run, "--out", model)
    asked, answered = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    lines = [json.dumps({"messages": [asked | {"content": letter}, answered]}) for letter in "cdefghijkl"]
    (tmp_path / "talk.jsonl").write_text("\n".join(lines))
    llm("finetune", model, "--data", tmp_path / "talk.jsonl", "--device", "cuda", "--epochs", 1, "--out", tuned)
    llm("export", tuned, "--out", tmp_path / "merged")


@pytest.mark.slow
def test_a_run_goes_on_from_what_was_saved_on_it(workstation: Command, tmp_path: Path) -> None:
    def metrics(*arguments: object) -> dict[str, float]:
        ran = workstation("examples", "run", *arguments, "--device", "cuda", "--json")
        return json.loads(ran.stdout)["metrics"]

    whole = metrics("mlp", "--epochs", 2, "--out", tmp_path / "run")
    assert list((tmp_path / "run").rglob(".metadata")), "nothing was saved"
    assert metrics("mlp", "--resume", tmp_path / "run") == whole
