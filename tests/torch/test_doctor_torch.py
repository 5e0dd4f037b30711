"""What the doctor says of this very torch is what torch itself says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

from workstation.doctor import command, torch_facts
from workstation.doctor.child import ask
from workstation.doctor.torch_facts import TorchFacts


@pytest.fixture(scope="module")
def facts() -> TorchFacts:
    return TorchFacts.from_json(ask(Path(torch_facts.__file__)))


def test_the_facts_are_torch_s_own(facts: TorchFacts) -> None:
    assert facts.version == torch.__version__
    assert facts.cuda == torch.version.cuda
    assert facts.threads == torch.get_num_threads()
    assert facts.cuda_error is None or not torch.cuda.is_available()
    assert len(facts.devices) == torch.cuda.device_count()


def test_the_libraries_in_the_process_are_seen(facts: TorchFacts) -> None:
    assert any(Path(file).name == "libtorch_cpu.so" for file in facts.mapped)
    assert (torch.version.cuda is None) != any("libcudnn.so" in file for file in facts.mapped)


def test_a_cuda_build_names_its_libraries_and_architectures(facts: TorchFacts) -> None:
    built_for_cuda = torch.version.cuda is not None
    assert bool(facts.cudnn) is bool(facts.nccl) is bool(facts.architectures) is built_for_cuda
    if facts.cudnn is not None:
        major, minor, patch = map(int, facts.cudnn.split("."))
        assert major * 10000 + minor * 100 + patch == torch.backends.cudnn.version()


def test_a_right_result_is_no_fault_and_a_refused_one_is(device: torch.device) -> None:
    assert torch_facts.fault(torch, str(device)) is None
    assert torch_facts.fault(torch, "meta") is not None


def test_the_command_reports_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code = command.run(argparse.Namespace(json=True, require_gpu=False))
    report = json.loads(capsys.readouterr().out)
    assert report["versions"]["torch"] == torch.__version__
    assert code == (1 if report["status"] == "FAIL" else 0)
