"""Python and torch: one interpreter, packages that fit each other."""

from __future__ import annotations

from workstation.doctor.finding import Finding, fail, ok, warn
from workstation.doctor.host import Host
from workstation.doctor.machine import Machine
from workstation.doctor.torch_facts import Companion, TorchFacts

PYTORCH_SELECTOR = "https://pytorch.org/get-started/locally/"


def python(host: Host) -> Finding:
    """Packages go into one interpreter; a shell that starts another one finds none of them."""
    here, on_path = host.interpreter.path, host.interpreter.on_path
    value = f"{host.interpreter.version} ({here})"
    if on_path is None or on_path.parent.resolve() != here.parent.resolve():
        return warn(
            f"{value}, but `python` is {on_path or 'not on PATH'}",
            remedy=f"put {here.parent} first: export PATH={here.parent}:$PATH",
        )
    return ok(value)


def torch(machine: Machine) -> Finding:
    """torch, torchvision and torchaudio are compiled against each other: an unpinned trio may not import together."""
    facts = machine.torch
    if not isinstance(facts, TorchFacts):
        return fail(f"does not import: {facts}", remedy=_unwritable(machine) or f"install it again: {PYTORCH_SELECTOR}")
    companions = {"torchvision": facts.torchvision, "torchaudio": facts.torchaudio}
    value = ", ".join([f"torch {facts.version}", *(_name(*item) for item in companions.items())])
    matching = f"take versions that were released together: {PYTORCH_SELECTOR}"
    broken = [f"{name} does not import: {found.error}" for name, found in companions.items() if found.error]
    if broken:
        return fail("\n".join([value, *broken]), remedy=_unwritable(machine) or matching)
    strangers = [
        f"{name} is built for CUDA {found.cuda}, torch for {facts.cuda}"
        for name, found in companions.items()
        if found.cuda is not None and found.cuda != facts.cuda
    ]
    # Within one major version CUDA's libraries are compatible, and upstream releases such pairs (pytorch/audio#4226).
    if any(found.cuda is not None and _major(found.cuda) != _major(facts.cuda) for found in companions.values()):
        return fail("\n".join([value, *strangers]), remedy=matching)
    if any(found.version is None for found in companions.values()):
        return warn(value, remedy=matching)
    return ok("\n".join([f"{value}: import together", *(f"{stranger}: compatible" for stranger in strangers)]))


def _major(cuda: str | None) -> str | None:
    return None if cuda is None else cuda.split(".")[0]


def _unwritable(host: Host) -> str | None:
    """torch looks for a temporary directory when it is imported, torchvision makes Inductor's cache."""
    blocked = [
        name
        for name, place in (
            ("temporary directory", host.places.temporary),
            ("inductor cache", host.places.inductor_cache),
        )
        if not place.takes_files
    ]
    return f"it needs a writable {' and '.join(blocked)}: see there, below" if blocked else None


def _name(name: str, found: Companion) -> str:
    return f"{name} {found.version}" if found.version else f"no {name}"
