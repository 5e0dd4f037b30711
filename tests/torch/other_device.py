"""The command line on a second device that is made of the CPU's memory: what a GPU refuses, it refuses.

    LD_PRELOAD=(one_gpu.c, compiled) python other_device.py examples run cnn --device cuda

Its tensors say that they are on `cuda:0`. The CPU computes their numbers; but beside a tensor of the CPU's own they are
an error, NumPy cannot read them, a CPU's generator draws none of them. So a program that forgot to move something fails
here as it would on a GPU. Of a GPU's kernels, memory and speed nothing is learnt.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch._dynamo  # it compares signatures: before one is exchanged
from torch import Tensor
from torch._decomp import decomposition_table
from torch._dispatch.python import enable_python_dispatcher
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from workstation import cli

aten = torch.ops.aten
DEVICE, CPU = torch.device("cuda", 0), torch.device("cpu")
MOVES = {aten._to_copy.default, aten.copy_.default}
# A GPU takes positions from the CPU too.
INDEXES = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


class Elsewhere(Tensor):
    """A tensor of the second device."""

    numbers: Tensor  # on the CPU

    @staticmethod
    def __new__(cls, numbers: Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls, numbers.size(), numbers.stride(), numbers.storage_offset(), dtype=numbers.dtype, device=DEVICE
        )
        made.numbers = numbers
        return made

    # With these two it can take a parameter's place.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["numbers"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: Any) -> Elsewhere:
        return Elsewhere(inner["numbers"])

    # Whose memory it is: by this a file of weights knows two names for one tensor.
    def storage(self) -> Any:
        return self.numbers.storage()

    def untyped_storage(self) -> Any:
        return self.numbers.untyped_storage()

    def data_ptr(self) -> int:
        return self.numbers.data_ptr()

    def __repr__(self) -> str:
        return f"Elsewhere({self.numbers})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


class Factories(TorchDispatchMode):
    """What makes a tensor of nothing has no argument to know the device by."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


def dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute with the numbers, and give what comes out the device that it has on a GPU's machine."""
    leaves = tree_leaves((args, kwargs))
    there = [leaf for leaf in leaves if isinstance(leaf, Elsewhere)]
    asked = kwargs.get("device")
    to_it = asked is not None and asked.type == "cuda"
    if not there and not to_it:
        return func(*args, **kwargs)
    if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
        with Factories():
            return func.decompose(*args, **kwargs)
    if asked is not None:
        kwargs = kwargs | {"device": CPU}
    stays = to_it or (asked is None and (func is not aten.copy_.default or isinstance(args[0], Elsewhere)))
    if there and func not in MOVES:
        refuse_strangers(func, args, kwargs)
    if torch.Tag.inplace_view in func.tags:
        with no_dispatch():
            func(*args, **kwargs)  # of the tensor here too the shape
    args, kwargs = tree_map(lambda leaf: numbers_of(leaf, stays), (args, kwargs))
    known = {id(leaf.numbers): leaf for leaf in there}

    def place(out: Any) -> Any:
        return known.get(id(out), Elsewhere(out) if stays else out) if isinstance(out, Tensor) else out

    if not torch._C._dispatch_has_computed_kernel_for_dispatch_key(func.name(), "CPU"):
        func = decomposition_table[func]  # a kernel that only a GPU has
    return tree_map(place, func(*args, **kwargs))


def refuse_strangers(func: Any, args: Any, kwargs: Any) -> None:
    for leaf in tree_leaves((args[:1], args[2:]) if func in INDEXES else (args, kwargs)):
        if isinstance(leaf, Tensor) and not isinstance(leaf, Elsewhere) and leaf.dim() > 0:
            raise RuntimeError(f"Expected all tensors to be on the same device: {func} was given cuda:0 and cpu")


generators: dict[int, tuple[torch.Generator, torch.Generator]] = {}  # by id: theirs, kept alive, and the CPU's for it


def numbers_of(leaf: Any, stays: bool) -> Any:
    if isinstance(leaf, Elsewhere):
        return leaf.numbers
    if isinstance(leaf, torch.Generator):
        if (leaf.device.type == "cuda") != stays:
            raise RuntimeError(f"a generator on {leaf.device} cannot draw for the other device")
        if stays and id(leaf) not in generators:
            generators[id(leaf)] = leaf, torch.Generator().manual_seed(leaf.initial_seed())
        return generators[id(leaf)][1] if stays else leaf
    return leaf


def pinned(tensor: torch.Tensor) -> torch.Tensor:
    if isinstance(tensor, Elsewhere):
        raise RuntimeError(f"cannot pin a tensor on {tensor.device}: only dense CPU tensors can be pinned")
    return tensor.clone()


@contextmanager
def in_this_thread() -> Iterator[None]:
    with enable_python_dispatcher(), Factories():
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(…, device=…) is made here, and then moved
        yield


@contextmanager
def other_device() -> Iterator[torch.device]:
    """Within, `cuda:0` is the second device."""
    begun = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        with in_this_thread():
            begun(thread)

    with pytest.MonkeyPatch.context() as patch, torch.backends.cudnn.flags(enabled=False), in_this_thread():
        patch.setattr(threading.Thread, "run", run)
        # A tensor of a subclass that was made in it cannot be sliced.
        patch.setattr(torch, "inference_mode", lambda mode=True: torch.no_grad() if mode else nullcontext())
        for name, answer in {
            "_lazy_init": None,
            "synchronize": None,
            "is_available": True,
            "is_bf16_supported": True,
            "get_device_name": "a GPU that is not there",
            "get_device_properties": SimpleNamespace(total_memory=80 * 10**9, major=9, minor=0),
            "max_memory_allocated": 0,
        }.items():
            patch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
        patch.setattr(torch.Tensor, "pin_memory", pinned)
        patch.setattr(weakref, "getweakrefs", lambda _: [])  # a parameter that torch.export remembers may move, too
        # Module.to puts another tensor into a parameter where the two are of one kind.
        alike = torch._has_compatible_shallow_copy_type
        patch.setattr(
            torch,
            "_has_compatible_shallow_copy_type",
            lambda one, two: isinstance(one, Elsewhere) == isinstance(two, Elsewhere) and alike(one, two),
        )
        yield DEVICE


if __name__ == "__main__":
    with other_device():
        cli.main()
