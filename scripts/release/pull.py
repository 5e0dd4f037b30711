"""From nothing to a ready Lab: push to a registry on this machine, pull with an engine that has no layer yet, start."""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine import STATE, Engine, ReleaseError, second_engine
from layout import Image

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs" / "benchmarks" / "pull.md"
IMAGE, NAIVE = "torch-workstation:local", "torch-workstation-naive:bench"
READY_S = 120
MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Pulled:
    pull: float  # seconds until the engine has it
    start: float  # seconds from `docker run` to the first answer


def measure(repeats: int) -> list[str]:
    """The report's table. Needs root, docker-registry and oras, and 25 GB of disk."""
    release = ROOT / "dist" / "workstation.tar"
    if not release.exists():
        raise ReleaseError("dist/workstation.tar is not there", "make release", 78)
    if subprocess.run(["docker", "image", "inspect", NAIVE], capture_output=True).returncode != 0:
        raise ReleaseError(f"there is no image {NAIVE}, the recipe to compare with", "make bench builds it", 78)
    for program in ("docker-registry", "oras"):
        if shutil.which(program) is None:
            raise ReleaseError(f"{program} is not installed", f"Debian 13 has it: apt-get install {program}", 69)
    with _registry() as address:
        pushed = {
            "zstd, as released": _copy(release, f"{address}/workstation:zstd"),
            "gzip, `docker push`": _push(IMAGE, f"{address}/workstation:gzip"),
            "the naive recipe: one layer of wheels, gzip": _push(NAIVE, f"{address}/naive:gzip"),
        }
        # In turn, so that a busy minute of the machine falls on all.
        rounds = [{name: _pull(reference) for name, (reference, _) in pushed.items()} for _ in range(repeats)]
        sizes = {name: _size(reference) for name, (reference, _) in pushed.items()}
    table = ["| image | GB to pull | push s | pull s | start s | nothing to a ready Lab, s |"]
    table += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, (_, push) in pushed.items():
        pulls = [one[name] for one in rounds]
        pull, start, ready = (
            statistics.median(values)
            for values in ([p.pull for p in pulls], [p.start for p in pulls], [p.pull + p.start for p in pulls])
        )
        table.append(f"| {name} | {sizes[name] / 1e9:.2f} | {push:.0f} | {pull:.0f} | {start:.1f} | {ready:.0f} |")
    return table


def _pull(reference: str) -> Pulled:
    """With an engine of its own, which has never seen a layer."""
    with second_engine({}) as engine:
        began = time.monotonic()
        engine.output("pull", "--quiet", reference)
        pulled = time.monotonic()
        container = engine.output("run", "--detach", "--publish", "127.0.0.1::8888", "--shm-size", "1g", reference)
        try:
            _wait_for_answer(f"http://{engine.output('port', container, '8888/tcp')}/api")
            return Pulled(pulled - began, time.monotonic() - pulled)
        finally:
            engine.output("rm", "--force", "--volumes", container)


def _wait_for_answer(url: str) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise ReleaseError(f"{url} did not answer within {READY_S} s", "Start the same by hand to see why", 69)


def _push(image: str, reference: str) -> tuple[str, float]:
    """Packing is part of it: the engine keeps layers unpacked."""
    local = Engine("")
    local.output("tag", image, reference)
    try:
        began = time.monotonic()
        local.output("push", "--quiet", reference)
        return reference, time.monotonic() - began
    finally:
        local.output("image", "rm", reference)


def _copy(release: Path, reference: str) -> tuple[str, float]:
    """Packed already, by the build."""
    began = time.monotonic()
    copy = ["oras", "copy", "--from-oci-layout", f"{release}@{Image.read(release).digest}", reference]
    subprocess.run([*copy, "--to-plain-http"], check=True, capture_output=True)
    return reference, time.monotonic() - began


def _size(reference: str) -> int:
    address, _, rest = reference.partition("/")
    repository, _, tag = rest.partition(":")
    asked = urllib.request.Request(f"http://{address}/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFESTS})
    with urllib.request.urlopen(asked) as answer:
        return sum(int(layer["size"]) for layer in json.load(answer)["layers"])


@contextmanager
def _registry() -> Iterator[str]:
    STATE.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory(dir=STATE) as folder:
        settings = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": f"{folder}/storage"}},
            "http": {"addr": address},
            "log": {"level": "error", "accesslog": {"disabled": True}},
        }
        file = Path(folder, "registry.yml")
        file.write_text(json.dumps(settings))
        with (
            Path(folder, "log").open("wb") as log,
            subprocess.Popen(["docker-registry", "serve", file], stdout=log, stderr=log) as process,
        ):
            try:
                _wait_for_answer(f"http://{address}/v2/")
                yield address
            finally:
                process.terminate()


def write_report(repeats: int) -> None:
    table = measure(repeats)
    engine = Engine("").output("version", "--format", "{{.Server.Version}}")
    lines = [
        "# From nothing to a ready Lab",
        "",
        "By `make pull-bench`: a registry on this machine's loopback, so no network limits the pull; an engine without",
        "a layer, overlay2, each time a new one. What is left is unpacking and the disk. Medians of",
        f"{repeats}, taken in turn. {time.strftime('%Y-%m-%d')}, Docker {engine}, {os.cpu_count()} CPU cores.",
        "",
        *table,
    ]
    REPORT.write_text("\n".join(lines) + "\n")
    print("\n".join(table))
