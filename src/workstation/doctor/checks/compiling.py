"""What torch.compile needs of a machine: caches it may run code from, a directory it may enter, compilers."""

from __future__ import annotations

from workstation.doctor.checks.resources import FREE_SOME
from workstation.doctor.compilers import Compiler
from workstation.doctor.finding import Finding, fail, ok
from workstation.doctor.host import Host
from workstation.doctor.machine import Machine
from workstation.doctor.place import Place


def c_compiler(machine: Machine) -> Finding:
    """Triton compiles a launcher for each GPU kernel, with Python.h; most images lack one or both (pytorch#116696)."""
    return _compiler(machine, machine.c_compiler, "gcc python3-dev")


def cxx_compiler(machine: Machine) -> Finding:
    """Inductor compiles each fused CPU kernel as C++ with OpenMP."""
    return _compiler(machine, machine.cxx_compiler, "g++")


def inductor_cache(host: Host) -> Finding:
    """torch.compile writes C++ kernels here and loads them as code."""
    return _cache(host.places.inductor_cache, "TORCHINDUCTOR_CACHE_DIR")


def triton_cache(host: Host) -> Finding:
    """Triton writes its launchers here and loads them as code."""
    return _cache(host.places.triton_cache, "TRITON_CACHE_DIR")


def working_directory(host: Host) -> Finding:
    """Inductor resolves paths from here: where the user may not enter it, it fails with "Fail to create path"."""
    if host.working_directory is None:
        return fail("was deleted", remedy="cd to a directory that exists")
    if not host.working_directory_open:
        return fail(
            f"{host.working_directory} may not be entered by this user",
            remedy=f"docker run --workdir DIRECTORY …, or on its owner's side: chmod g+rwx {host.working_directory}",
        )
    return ok(str(host.working_directory))


def _compiler(host: Host, compiler: Compiler, packages: str) -> Finding:
    if compiler.error is not None:
        install = f"apt-get install --no-install-recommends {packages}"
        return fail(
            f"{compiler.path or compiler.command}: {compiler.error}",
            remedy=install if host.places.temporary.takes_files else "see temporary directory, above",
        )
    return ok(f"{compiler.path} compiles and links")


def _cache(place: Place, variable: str) -> Finding:
    if not place.writable:
        return fail(
            f"{place.path} cannot be written",
            remedy=f"mount a volume there (docker run -v cache:{place.path} …), or set {variable} to another directory",
        )
    if not place.takes_files:
        return fail(f"{place.path}: no room left", remedy=FREE_SOME)
    if not place.executable:
        return fail(
            f"{place.path} is mounted noexec: what is compiled there cannot be loaded",
            remedy=f"docker run --tmpfs {place.path}:exec …, or set {variable} to another directory",
        )
    return ok(f"{place.path}: writable and executable")
