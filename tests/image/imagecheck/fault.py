"""A broken image: what breaks it, and which check must fail with which remedy.

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
