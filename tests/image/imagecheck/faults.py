"""Broken images, one fault each: what breaks it, and which check must fail with which remedy.

Most lie over the workstation image, a thin layer each; what needs no torch lies over a small Debian with Python.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from imagecheck import Settings

WORKSTATION, SMALL = "workstation", "small"
SITE = "/opt/venv/lib/python3*/site-packages"
NVIDIA_CUDNN = "$(dirname $(find / -xdev -name libcudnn_ops.so.9 -not -path '*/dist-info/*' | head -n 1))"


@dataclass(frozen=True)
class Fault:
    """`lines` go into a Dockerfile over `base`, as root; `fails` is exactly what must fail among `groups`."""

    name: str
    fails: str
    remedy: str
    groups: tuple[str, ...]
    lines: str = ""
    base: str = WORKSTATION
    user: str = "1000:0"
    settings: Settings = field(default_factory=Settings)

    def __str__(self) -> str:
        return self.name


def run(command: str) -> str:
    return f"RUN {command}\n"


def patch(module: str, code: str) -> str:
    """Append Python to an installed module and compile it anew, so that the fault is what runs."""
    source = "\\n".join(code.strip("\n").splitlines()).replace("'", "'\\''")
    return run(
        f"file=$(echo {SITE}/{module}) && printf '\\n{source}\\n' >> $file && "
        "/opt/venv/bin/python -m compileall -q -f --invalidation-mode unchecked-hash $file"
    )


def interpose(function: str, body: str) -> str:
    """A library loaded before all others whose `function` is the one that is found: an old version come first."""
    return (
        run(f"echo '{body}' | gcc -shared -fPIC -x c - -o /opt/lib{function}.so")
        + f"ENV LD_PRELOAD=/opt/lib{function}.so\n"
    )


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
        patch(
            "torch/__init__.py",
            """
_conv = nn.functional.conv2d
nn.functional.conv2d = lambda *a, **k: (lambda y: 2 * y.detach() - y)(_conv(*a, **k))
""",
        ),
    ),
    Fault(
        "attention's gradient has the wrong sign",
        "training.gpt",
        "gradient",
        ("training",),
        patch(
            "torch/__init__.py",
            """
_sdpa = nn.functional.scaled_dot_product_attention
nn.functional.scaled_dot_product_attention = lambda *a, **k: (lambda y: 2 * y.detach() - y)(_sdpa(*a, **k))
""",
        ),
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

SERVER = (
    Fault(
        "the server dies at its start",
        "server.answers",
        "see its last lines",
        ("server", "operations.no-tty"),
        'ENTRYPOINT ["jupyter", "lab", "--port=none"]\n',
    ),
    Fault(
        "the server listens on localhost alone",
        "server.answers",
        "0.0.0.0",
        ("server",),
        'ENTRYPOINT ["jupyter", "lab", "--ip=127.0.0.1"]\n',
        settings=Settings(timeout=20),
    ),
    Fault(
        "the server asks for no token",
        "server.token",
        "whoever reaches the port runs code",
        ("server",),
        'ENTRYPOINT ["jupyter", "lab", "--ip=0.0.0.0", "--IdentityProvider.token="]\n',
    ),
    Fault(
        "the kernel's Python finds another torch",
        "server.kernel",
        "kernelspec",
        ("server",),
        run("mkdir /opt/shadow && echo 'raise ImportError(\"not this one\")' > /opt/shadow/torch.py")
        + run(
            "cd /opt/venv/share/jupyter/kernels/python3 && /opt/venv/bin/python -c 'import json; "
            'spec = json.load(open("kernel.json")); spec["env"] = {"PYTHONPATH": "/opt/shadow"}; '
            'json.dump(spec, open("kernel.json", "w"))\''
        ),
    ),
    Fault(
        "the server takes longer to start than it may",
        "operations.start-time",
        "into the build",
        ("server.answers", "operations.start-time"),
        settings=Settings(start_limit=0.1),
    ),
)

OPERATIONS = (
    Fault(
        "torch belongs to one user alone",
        "operations.any-uid",
        "chmod -R a+rX",
        ("stack.imports", "operations.any-uid", "operations.read-only", "operations.offline"),
        run(f"chown 1000 {SITE}/torch/nn && chmod 700 {SITE}/torch/nn"),
    ),
    Fault(
        "importing torch writes to the root",
        "operations.read-only",
        "what is written at start",
        ("stack.imports", "operations.any-uid", "operations.read-only", "operations.offline"),
        patch("torch/__init__.py", 'open("/var/tmp/started" + str(os.getuid()), "w").close()'),
    ),
    Fault(
        "importing torch needs a network",
        "operations.offline",
        "nothing is downloaded at import",
        ("stack.imports", "operations.any-uid", "operations.read-only", "operations.offline"),
        patch(
            "torch/__init__.py",
            """
import socket as _s
if [name for _, name in _s.if_nameindex()] == ["lo"]: raise OSError("no way to the licence server")
""",
        ),
    ),
    Fault(
        "the command wants a terminal",
        "operations.no-tty",
        "[ -t 0 ]",
        ("operations.no-tty",),
        'CMD ["sh", "-c", "test -t 0 || exit 9; exec sleep 600"]\n',
        base=SMALL,
    ),
    Fault(
        "the command does not hear SIGTERM",
        "operations.stops",
        "tini",
        ("operations.no-tty", "operations.stops"),
        'CMD ["sh", "-c", "trap : TERM; while :; do sleep 1; done"]\n',
        base=SMALL,
        settings=Settings(stop_limit=3),
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

CONTENTS = (
    Fault(
        "a private key was copied in and deleted again",
        "contents.no-secrets",
        "revoke it",
        ("contents",),
        run("mkdir -p /root/.ssh && echo '-----BEGIN OPENSSH PRIVATE KEY-----' > /root/.ssh/deploy")
        + run("rm -r /root/.ssh"),
        base=SMALL,
    ),
    Fault(
        "a token in a variable",
        "contents.no-secrets",
        "--mount=type=secret",
        ("contents",),
        "ENV HF_TOKEN=not-a-real-token\n",
        base=SMALL,
    ),
    Fault(
        "package lists were left behind",
        "contents.no-caches",
        "/var/lib/apt/lists",
        ("contents",),
        run("mkdir -p /var/lib/apt/lists && head -c 3000000 /dev/zero > /var/lib/apt/lists/mirror_Packages"),
        base=SMALL,
    ),
    Fault(
        "a set-uid program",
        "contents.no-setuid",
        "chmod ug-s",
        ("contents",),
        run("cp /bin/cat /usr/local/bin/readall && chmod u+s /usr/local/bin/readall"),
        base=SMALL,
    ),
    Fault(
        "everybody may change the configuration",
        "contents.no-world-writable",
        "chmod o-w",
        ("contents",),
        run("chmod 666 /etc/profile"),
        base=SMALL,
    ),
    Fault("the image runs as root", "contents.not-root", "USER 1000", ("contents",), base=SMALL, user="root"),
    Fault(
        "the image is larger than allowed",
        "contents.size",
        "largest layers",
        ("contents",),
        base=SMALL,
        settings=Settings(max_size=50 * 1024**2),
    ),
)

FAULTS = (
    *STACK,
    *CUDNN,
    *NUMERICS,
    *COMPILE,
    *DATALOADER,
    *TRAINING,
    *SERVER,
    *OPERATIONS,
    *DISTRIBUTED,
    *CONTENTS,
)
