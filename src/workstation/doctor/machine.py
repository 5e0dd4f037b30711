"""Everything the doctor knows of a machine: plain facts, nothing judged."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workstation.doctor import plain_program, torch_facts
from workstation.doctor.child import ChildError, ask
from workstation.doctor.compilers import Compiler, c_compiler, cxx_compiler
from workstation.doctor.host import ROOT, Host, inspect_host
from workstation.doctor.libraries import Copies, on_disk
from workstation.doctor.plain_program import PlainProgram
from workstation.doctor.torch_facts import TorchFacts


@dataclass(frozen=True)
class Machine(Host):
    """The host's facts, and those that take seconds: torch, ld.so and the compilers have to be tried."""

    torch: TorchFacts | ChildError
    plain_program: PlainProgram
    libraries: Copies  # on disk
    c_compiler: Compiler
    cxx_compiler: Compiler


def inspect(root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> Machine:
    """Gather all facts: about five seconds, most of them `import torch` in a process of its own."""
    return Machine(
        **vars(inspect_host(root, environ)),
        torch=_torch(),
        plain_program=_plain_program(),
        libraries=on_disk(environ),
        c_compiler=c_compiler(environ),
        cxx_compiler=cxx_compiler(environ),
    )


def _torch() -> TorchFacts | ChildError:
    try:
        return TorchFacts.from_json(ask(Path(torch_facts.__file__)))
    except ChildError as failure:
        return failure


def _plain_program() -> PlainProgram:
    try:
        return PlainProgram.from_json(ask(Path(plain_program.__file__)))
    except ChildError:  # a library that crashes when loaded is of no use to a plain program
        return PlainProgram(cudnn=None, nccl=None)
