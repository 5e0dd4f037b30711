"""What can be wrong with the torch of an image, one fault each."""

from __future__ import annotations

from fault import NVIDIA_CUDNN, SITE, SMALL, Fault, interpose, patch, run

from imagecheck import Settings

STACK = (
    Fault(
        "torch is not installed",
        "stack.imports",
        "install torch",
        ("stack",),
        base=SMALL,
    ),
    Fault(
        "cuDNN was deleted",
        "stack.imports",
        "reinstall nvidia-cudnn",
        ("stack", "cudnn"),
        run(f"rm {NVIDIA_CUDNN}/libcudnn.so.9"),
    ),
    Fault(
        "torchvision is for another CUDA",
        "stack.same-cuda",
        "pin the family to one release",
        ("stack",),
        patch("torchvision/version.py", "cuda = 12080"),
    ),
    Fault(
        "a CPU torch under a CUDA name",
        "stack.cuda-build",
        "install from the CUDA index",
        ("stack",),
        "COPY stub_torch /usr/lib/python3/dist-packages/torch\nENV CUDA_VERSION=13.0.3\n",
        base=SMALL,
    ),
    Fault(
        "an older NCCL comes first",
        "stack.nccl",
        "LD_PRELOAD",
        ("stack",),
        interpose("ncclGetVersion", "int ncclGetVersion(int *v) { *v = 21805; return 0; }"),
    ),
    Fault(
        "a dependency is missing",
        "stack.pip-check",
        "one lock file",
        ("stack",),
        run(f"rm -r {SITE}/sympy-*.dist-info"),
    ),
    Fault(
        "bytecode is older than its source",
        "stack.fresh-bytecode",
        "compileall",
        ("stack",),
        run(f"echo '# changed' >> $(echo {SITE}/torch/functional.py)"),
    ),
)

CUDNN = (
    Fault(
        "an older cuDNN comes first",
        "cudnn.pinned",
        "LD_PRELOAD",
        ("stack", "cudnn"),
        interpose("cudnnGetVersion", "unsigned long cudnnGetVersion(void) { return 90100; }"),
    ),
    Fault(
        "a part of cuDNN was deleted to save space",
        "cudnn.whole",
        "reinstall the cuDNN wheel whole",
        ("stack", "cudnn"),
        run(f"rm {NVIDIA_CUDNN}/libcudnn_adv.so.9"),
    ),
    Fault(
        "two cuDNNs",
        "cudnn.one-copy",
        "keep one",
        ("stack", "cudnn"),
        run(f"mkdir /opt/second && cp {NVIDIA_CUDNN}/libcudnn.so.9 /opt/second/")
        + patch("torch/__init__.py", 'import ctypes as _c; _c.CDLL("/opt/second/libcudnn.so.9")'),
    ),
)

NUMERICS = (
    Fault(
        "float32 products are done in bfloat16",
        "numerics.matmul",
        "ONEDNN_DEFAULT_FPMATH_MODE",
        ("numerics",),
        patch(
            "torch/__init__.py",
            """
_mm = Tensor.__matmul__
Tensor.__matmul__ = lambda a, b: _mm(a.bfloat16(), b.bfloat16()).float() if a.dtype is float32 else _mm(a, b)
""",
        ),
    ),
    Fault(
        "attention forgets its mask",
        "numerics.attention",
        "torch.nn.functional",
        ("numerics",),
        patch(
            "torch/__init__.py",
            """
_sdpa = nn.functional.scaled_dot_product_attention
nn.functional.scaled_dot_product_attention = lambda q, k, v, **_: _sdpa(q, k, v)
""",
        ),
    ),
    Fault(
        "autocast does nothing",
        "numerics.autocast",
        "torch.autocast",
        ("numerics",),
        patch("torch/__init__.py", "import contextlib as _c\nautocast = lambda *_, **__: _c.nullcontext()"),
    ),
)

# Whatever the image says of its caches, these faults are to be met, not that one.
CACHES = "ENV TORCHINDUCTOR_CACHE_DIR=/tmp/inductor TRITON_CACHE_DIR=/tmp/triton\n"

COMPILE = (
    Fault(
        "no C++ compiler",
        "compile.cpu",
        "install gcc and g++",
        ("compile",),
        CACHES + run("rm -f /usr/bin/*g++* /usr/bin/c++"),
    ),
    Fault(
        "no Python headers",
        "compile.cpu",
        "python3-dev",
        ("compile",),
        CACHES + run("find / -xdev -name Python.h -delete"),
    ),
    Fault(
        "torch.compile is turned off",
        "compile.cpu",
        "unset TORCHDYNAMO_DISABLE",
        ("compile",),
        CACHES + "ENV TORCHDYNAMO_DISABLE=1\n",
    ),
    Fault(
        "the compiler's cache cannot be written",
        "compile.cpu",
        "point TORCHINDUCTOR_CACHE_DIR",
        ("compile",),
        "ENV TORCHINDUCTOR_CACHE_DIR=/opt/cache\n",
    ),
)

DATALOADER = (
    Fault(
        "64 MB of shared memory",
        "dataloader.workers",
        "--shm-size",
        ("dataloader",),
        settings=Settings(shm_size=64 * 1024**2),
    ),
)


def wrong_sign(function: str) -> str:
    """The gradient of one of torch.nn.functional's, and nothing else of it."""
    return patch(
        "torch/__init__.py",
        f"""
_right = nn.functional.{function}
nn.functional.{function} = lambda *a, **k: (lambda y: 2 * y.detach() - y)(_right(*a, **k))
""",
    )


TRAINING = (
    Fault(
        "a linear layer's bias gets no gradient",
        "training.regression",
        "gradient",
        ("training",),
        patch(
            "torch/__init__.py",
            """
_linear = nn.functional.linear
nn.functional.linear = lambda x, w, b=None: _linear(x, w, None if b is None else b.detach())
""",
        ),
    ),
    Fault(
        "a convolution's gradient has the wrong sign",
        "training.digits",
        "gradient",
        ("training",),
        wrong_sign("conv2d"),
    ),
    Fault(
        "attention's gradient has the wrong sign",
        "training.gpt",
        "gradient",
        ("training",),
        wrong_sign("scaled_dot_product_attention"),
    ),
    Fault(
        "the seed is ignored",
        "training.repeats",
        "manual_seed",
        ("training",),
        patch("torch/__init__.py", "manual_seed = lambda seed: default_generator"),
    ),
    Fault(
        "an optimizer's state is lost with the checkpoint",
        "training.resumes",
        "load_state_dict",
        ("training",),
        patch("torch/optim/optimizer.py", "Optimizer.load_state_dict = lambda self, state: None"),
    ),
)

DISTRIBUTED = (
    Fault(
        "gloo is tied to an interface that is not there",
        "distributed.rendezvous",
        "GLOO_SOCKET_IFNAME",
        ("distributed",),
        "ENV GLOO_SOCKET_IFNAME=eth7\n",
    ),
    Fault(
        "all_reduce adds nothing",
        "distributed.all-reduce",
        "torch.distributed",
        ("distributed",),
        patch("torch/distributed/__init__.py", "all_reduce = lambda tensor, *_, **__: None"),
    ),
    Fault(
        "DistributedDataParallel does not average",
        "distributed.gradients",
        "DistributedDataParallel",
        ("distributed",),
        patch("torch/nn/parallel/__init__.py", "DistributedDataParallel = lambda module, *_, **__: module"),
    ),
)

TORCH_FAULTS = (
    *STACK,
    *CUDNN,
    *NUMERICS,
    *COMPILE,
    *DATALOADER,
    *TRAINING,
    *DISTRIBUTED,
)
