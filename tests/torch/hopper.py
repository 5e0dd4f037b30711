"""An H200 that is not there, so far as PyTorch's compiler asks: what it writes for one, and what that costs.

    LD_PRELOAD=(one_gpu.c, compiled) python hopper.py 124m 1.5b          two lines for each: forward, backward
    … --layers 2 --assemble                                              fewer layers; the kernels' machine code

The tensors are fake: they have shapes, and no memory. Inductor writes its Triton kernels for compute capability 9.0,
and Triton's own ptxas assembles them, which takes no GPU. Nothing is computed and nothing is timed.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import math
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor, nn
from torch._dynamo.device_interface import CudaInterface
from torch._functorch import config as functorch
from torch._inductor import config as inductor
from torch._inductor.dependencies import MemoryDep
from torch._inductor.fx_passes import fuse_attention, misc_patterns, pad_mm
from torch._inductor.graph import GraphLowering
from torch._inductor.runtime import triton_helpers
from torch._inductor.virtualized import V
from torch._subclasses.fake_tensor import FakeTensorMode
from triton.backends.compiler import GPUTarget

from workstation.llm.memory import keeps_products
from workstation.llm.pretrain import compiled, decoder
from workstation.llm.settings import PRESETS, Preset

H200 = SimpleNamespace(
    name="NVIDIA H200", major=9, minor=0, multi_processor_count=132, total_memory=150_754_820_096, warp_size=32,
    regs_per_multiprocessor=65_536, max_threads_per_multi_processor=2048, max_threads_per_block=1024,
    shared_memory_per_block=49_152, shared_memory_per_block_optin=232_448, shared_memory_per_multiprocessor=233_472,
    L2_cache_size=62_914_560, is_integrated=0, is_multi_gpu_board=0, gcnArchName="",
)  # fmt: skip
CUDA = torch.device("cuda", 0)


def pretend() -> None:
    """For the rest of this process there is an H200, for whoever asks before computing."""

    def always(answer: Any) -> Callable[..., Any]:
        return lambda *_args, **_named: answer

    stream = SimpleNamespace(cuda_stream=0)
    answers: dict[str, Any] = {
        "is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0, "current_stream": stream,
        "get_device_properties": H200, "get_device_capability": (9, 0), "is_bf16_supported": True,
        "_exchange_device": 0, "_maybe_exchange_device": 0, "synchronize": None, "set_device": None, "_lazy_init": None,
        "get_rng_state": torch.zeros(16, dtype=torch.uint8), "set_rng_state": None,
    }  # fmt: skip
    for name, answer in answers.items():
        setattr(torch.cuda, name, always(answer))
    for name in (
        "is_available",
        "device_count",
        "current_device",
        "synchronize",
        "set_device",
        "get_device_properties",
    ):
        setattr(CudaInterface, name, staticmethod(always(answers[name])))
    CudaInterface.get_compute_capability = staticmethod(always(90))
    CudaInterface.exchange_device = CudaInterface.maybe_exchange_device = staticmethod(always(0))
    CudaInterface.Worker.current_device = staticmethod(always(0))
    CudaInterface.Worker.get_device_properties = staticmethod(always(H200))
    torch.cuda.graphs._cuda_isCurrentStreamCapturing = always(False)
    target = SimpleNamespace(
        get_current_target=always(GPUTarget("cuda", 90, 32)), get_current_device=always(0), is_active=always(True)
    )
    triton.runtime.driver.set_active(target)
    triton_helpers.set_driver_to_gpu = always(None)
    # These compute on the device while they look for patterns. None of them is in a decoder whose sides are multiples
    # of 8 and which calls for fused attention by itself.
    fuse_attention._sfdp_init = misc_patterns._misc_patterns_init = pad_mm._pad_mm_init = always(None)
    inductor.joint_graph_constant_folding = False
    # PyTorch's first choice on this GPU; the choosing itself asks the driver.
    nn.functional.scaled_dot_product_attention = attention


def attention(q: Tensor, k: Tensor, v: Tensor, *, attn_mask: None, is_causal: bool, **_grouped: bool) -> Tensor:
    return torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, attn_mask, True, 0.0, is_causal)[0]


@dataclass(frozen=True)
class Graph:
    """One half of a compiled function, forward or backward."""

    code: str
    kernels: int  # written by Triton
    moved: int  # bytes they read and write: each buffer once a kernel
    operations: int  # of matrix products; attention's are not counted
    answers: int  # bytes handed out: a forward half's answer, and what it keeps for the backward half


@contextmanager
def compiling() -> Iterator[list[Graph]]:
    """What is compiled in here, in the order it is asked for. Tensors are fake."""
    graphs: list[Graph] = []

    class Module:
        """In the place of the module that would launch the kernels: it hands out what has the right shape."""

        __file__, runner = "", None

        def __init__(self, graph: GraphLowering) -> None:
            self.answers = [each.maybe_get_layout() for each in graph.graph_outputs]

        def call(self, given: list[Any]) -> list[Any]:
            given.clear()
            return [None if layout is None else blank(layout) for layout in self.answers]

    def compile_to_module(graph: GraphLowering) -> Module:
        code, _ = graph.codegen()
        nodes = graph.scheduler.nodes
        graphs.append(
            Graph(
                code.value,
                kernels=sum(not node.is_extern() for node in nodes),
                moved=sum(moved(graph, node) for node in nodes if not node.is_extern()),
                operations=sum(node.estimate_flops() or 0 for node in nodes if node.is_extern() and plain(node)),
                answers=sum(answered(graph).values()),
            )
        )
        return Module(graph)

    with (
        mock.patch.object(GraphLowering, "compile_to_module", compile_to_module),
        FakeTensorMode(allow_non_fake_inputs=True),
        inductor.patch(fx_graph_cache=False, compile_threads=1),
        functorch.patch(force_non_lazy_backward_lowering=True, enable_autograd_cache=False),
    ):
        yield graphs


def written(preset: Preset) -> list[Graph]:
    """For one micro-batch, forward and backward; of a model that recomputes, for a block."""
    model = decoder(preset, torch.device("meta"))
    with compiling() as graphs, torch.autocast("cuda", torch.bfloat16, enabled=preset.recipe.precision == "mixed"):
        move(model)
        compiled(model, in_parts=False, products=keeps_products(preset, H200.total_memory))
        rows = torch.zeros(preset.recipe.micro_batch, preset.shape.context, dtype=torch.int64, device=CUDA)
        model(rows, rows)
    return graphs


def blank(layout: Any) -> Tensor:
    return torch.empty_strided(
        [int(each) for each in layout.size], [int(each) for each in layout.stride], dtype=layout.dtype, device=CUDA
    )


def answered(graph: GraphLowering) -> dict[str, int]:
    """Bytes of each buffer that the graph makes and hands out."""
    made = [
        each for each in graph.graph_outputs if each.maybe_get_layout() and each.get_name() not in graph.graph_inputs
    ]
    return {each.get_name(): math.prod(map(int, each.get_size())) * each.get_dtype().itemsize for each in made}


def plain(node: Any) -> bool:
    return "attention" not in str(getattr(node.node, "op_overload", ""))


def move(model: nn.Module) -> None:
    """To the fake device. `Module.to` cannot, as it swaps tensors whose weak references the fake mode holds."""
    moved: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                fresh = nn.Parameter(torch.empty_like(weight, device=CUDA), requires_grad=weight.requires_grad)
                module._parameters[name] = moved.setdefault(id(weight), fresh)
        for name, table in module._buffers.items():
            module._buffers[name] = torch.empty(table.shape, dtype=table.dtype, device=CUDA)


def moved(graph: GraphLowering, node: Any) -> int:
    """Bytes that a kernel reads and writes outside itself."""
    gone = V.graph.removed_buffers | V.graph.inplaced_to_remove
    sizes: dict[str, int] = {}
    for access in node.read_writes.reads | node.read_writes.writes:
        buffer = None if access.name in gone else graph.try_get_buffer(access.name)
        if buffer is None or not isinstance(access, MemoryDep):
            continue
        # What is looked up is touched once a thread, as a target's logit is: Inductor would count all of the table.
        reach = int(math.prod(node.group[1])) if access.is_indirect() else int(access.get_numel())
        touched = min(math.prod(map(int, buffer.get_size())), reach)
        sizes[access.name] = max(sizes.get(access.name, 0), touched * buffer.get_dtype().itemsize)
    return sum(sizes.values())


def assembled(graph: Graph) -> dict[str, int]:
    """Each kernel's name and the bytes of registers it spills, at worst over the shapes of block it may be run with."""
    worst: dict[str, int] = {}
    for name, source in re.findall(
        r"async_compile\.triton\('(\w+)', '''(.*?)''', device_str='cuda'\)", graph.code, re.DOTALL
    ):
        with tempfile.TemporaryDirectory() as folder, inductor.patch(use_static_triton_launcher=False):
            path = Path(folder, f"{name}.py")
            path.write_text(source)
            spec = importlib.util.spec_from_file_location(name, path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            kernel = getattr(module, name)
            for block in kernel.configs:
                Path(folder, "ptx").write_text(kernel._precompile_config(block).kernel.asm["ptx"])
                ptxas = [triton.knobs.nvidia.ptxas.path, "-v", "--gpu-name=sm_90a", "-o", "/dev/null", f"{folder}/ptx"]
                said = subprocess.run(ptxas, check=True, capture_output=True, text=True).stderr
                spilled = max(map(int, re.findall(r"(\d+) bytes spill", said)))
                worst[name] = max(worst.get(name, 0), spilled)
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="+", choices=PRESETS)
    parser.add_argument("--layers", type=int, help="in place of the preset's own")
    parser.add_argument("--memory", type=int, default=H200.total_memory, help="bytes that the GPU has")
    parser.add_argument("--assemble", action="store_true", help="each kernel's spilled registers as well")
    arguments = parser.parse_args()
    H200.total_memory = arguments.memory
    pretend()
    for name in arguments.presets:
        preset = PRESETS[name]
        if arguments.layers:
            preset = dataclasses.replace(preset, shape=dataclasses.replace(preset.shape, layers=arguments.layers))
        for graph in written(preset):
            said = {"preset": name} | dataclasses.asdict(graph)
            del said["code"]
            print(json.dumps(said | ({"spilled": assembled(graph)} if arguments.assemble else {})))


if __name__ == "__main__":
    main()
