"""Stands in for a torch built without CUDA, as far as probes/stack.py looks."""

from types import SimpleNamespace

__version__ = "2.14.1+cpu"
version = SimpleNamespace(cuda=None, hip=None)
cuda = SimpleNamespace(is_available=lambda: False)


def get_num_threads() -> int:
    return 1
