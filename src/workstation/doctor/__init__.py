"""What this machine can do, what is wrong with it, and how to mend it.

Importing this package costs next to nothing: each public name is fetched from its module when it is first used, so that
neither torch nor rich is loaded by a program that only wants to know how many GPUs there are.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workstation.doctor.cgroup import usable_cpus
    from workstation.doctor.examination import examine, worst
    from workstation.doctor.machine import Machine, inspect
    from workstation.doctor.summary import lost_gpus, start_summary, visible_gpu_count

__all__ = [
    "Machine",
    "examine",
    "inspect",
    "lost_gpus",
    "start_summary",
    "usable_cpus",
    "visible_gpu_count",
    "worst",
]

_MODULES = {
    "Machine": "machine",
    "examine": "examination",
    "inspect": "machine",
    "lost_gpus": "summary",
    "start_summary": "summary",
    "usable_cpus": "cgroup",
    "visible_gpu_count": "summary",
    "worst": "examination",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
