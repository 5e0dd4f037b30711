"""What a machine that has the image pulls after a change."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from engine import ROOT, SCRATCH, add_line, build, copy_of_the_tree, digests, output
from measured import Promise, Section

# Where the layers that a lock file fills are among the image's last; behind them: the lock's check, the code, the home.
LAYERS = {"cuda": -7, "torch": -6, "science": -5, "jupyter": -4}
# A layer is pulled whole, whichever of its packages changed: a small one stands for torch, which takes others along.
UPGRADES = {"jupyter": "jupyterlab", "torch": "filelock"}


@dataclass(frozen=True)
class Update:
    megabytes: float
    layers: str  # how many of how many
    kept: frozenset[str]  # of LAYERS


def measure_update(_: int) -> Section:
    """One change after the other, each image against the one before it, by scripts/repull."""
    images, updates = [f"{SCRATCH}-0"], {}
    with tempfile.TemporaryDirectory() as scratch:
        context = copy_of_the_tree(scratch)
        build(context, images[0])

        def measure(change: str) -> None:
            images.append(f"{SCRATCH}-{len(images)}")
            build(context, images[-1])
            updates[change] = update(images[-2], images[-1])

        add_line(context / "src" / "workstation" / "__init__.py")
        measure("a line in src/")
        add_line(context / "requirements" / "jupyter.txt")
        measure("a comment in a lock file")
        for layer, package in UPGRADES.items():
            take_another(context / "requirements" / f"{layer}.txt", package)
            measure(f"another {package} in requirements/{layer}.txt")
    subprocess.run(["docker", "image", "rm", "--force", *images], check=True, capture_output=True)
    table = ["| change | pulled, zstd -9 | layers | kept |", "| --- | ---: | --- | --- |"]
    table += [
        f"| {change} | {each.megabytes:.2f} MB | {each.layers} | {', '.join(sorted(each.kept))} |"
        for change, each in updates.items()
    ]
    code, _comment, lab, torch = updates.values()
    others = frozenset(LAYERS) - {"torch"}
    return Section(
        "Update",
        table,
        [
            Promise("pulled after a line in src/", f"{code.megabytes:.2f} MB", "≤ 2 MB", code.megabytes <= 2),
            Promise("pulled after a JupyterLab upgrade", f"{lab.megabytes:.1f} MB", "≤ 200 MB", lab.megabytes <= 200),
            Promise("a torch upgrade leaves", ", ".join(sorted(torch.kept)), "all but torch", torch.kept == others),
        ],
    )


def take_another(lock: Path, package: str) -> None:
    """The version before the locked one, with its hashes."""
    block = re.compile(rf"^{package}==(\S+).*\n(?: +.*\n)+", re.MULTILINE)
    found = block.search(lock.read_text())
    assert found is not None, package
    asked = ["uv", "pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate", "--generate-hashes", "-"]
    wanted = f"{package}<{found[1]}\n"
    before = subprocess.run(asked, input=wanted, check=True, capture_output=True, text=True).stdout
    lock.write_text(block.sub(lambda _: before, lock.read_text()))


def update(old: str, new: str) -> Update:
    *_, total = output(sys.executable, str(ROOT / "scripts" / "repull"), old, new).splitlines()
    found = re.fullmatch(r"([\d.]+) MB in (\d+ of \d+) layers", total)
    assert found is not None, total
    before, after = digests(old), digests(new)
    kept = frozenset(name for name, place in LAYERS.items() if before[place] == after[place])
    return Update(float(found[1]), found[2], kept)
