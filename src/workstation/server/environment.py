"""The environment every process in the container gets, the server's and a plain command's alike."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping

from workstation import doctor

HOME = "/home/workstation"
CACHES = ("HF_HOME", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "XDG_CACHE_HOME")
SCRATCH = "/tmp"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_MAX_THREADS")


def prepared(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with a home, a user's name and, where it needs them, thread counts; what a person set stays."""
    given = dict(environ)
    if given.get("HOME", "/") in ("", "/"):  # what Docker says where the user has no passwd entry
        given["HOME"] = HOME
    name = _user_name()
    return {"USER": name, "LOGNAME": name} | _threads(given) | given | _caches(given)


def _threads(given: Mapping[str, str]) -> dict[str, str]:
    """A person's OMP_NUM_THREADS for all: PyTorch takes MKL's number before it. Else a quota, which no library reads.

    Without either nothing is set: the libraries count for themselves, and torchrun gives each of its workers one.
    """
    chosen = given.get("OMP_NUM_THREADS", "").split(",")[0]  # "4,2": four threads, each of which may start two
    if chosen:
        return dict.fromkeys(THREADS, chosen)
    cpus = doctor.usable_cpus()
    return dict.fromkeys(THREADS, str(cpus)) if cpus < len(os.sched_getaffinity(0)) else {}


def _caches(given: Mapping[str, str], scratch: str = SCRATCH) -> dict[str, str]:
    """Caches move to /tmp on a read-only root without a cache volume: `import torchvision` writes to one already."""
    root = given.get("XDG_CACHE_HOME", "")
    if not root or os.access(root, os.W_OK | os.X_OK) or not os.access(scratch, os.W_OK | os.X_OK):
        return {}
    moved = f"{scratch}/workstation-cache-{os.getuid()}"
    below = {name: given[name] for name in CACHES if f"{given.get(name, '')}/".startswith(f"{root}/")}
    return {name: moved + path.removeprefix(root) for name, path in below.items()}


def _user_name() -> str:
    """getpass.getuser(), which torch.compile calls, raises for a UID without a passwd entry and without $USER."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return "workstation"
