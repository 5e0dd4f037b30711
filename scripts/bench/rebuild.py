"""What a change of one line costs."""

from __future__ import annotations

import subprocess
import tempfile

from engine import SCRATCH, add_line, build, copy_of_the_tree, digests
from measured import Promise, Section


def measure_rebuild(_: int) -> Section:
    """In a copy of the tree: a line more in src/, then a line more in the jupyter layer's lock."""
    with tempfile.TemporaryDirectory() as scratch:
        context = copy_of_the_tree(scratch)
        build(context, SCRATCH)
        before = digests(SCRATCH)
        add_line(context / "src" / "workstation" / "__init__.py")
        code = build(context, SCRATCH)
        after_code = digests(SCRATCH)
        add_line(context / "requirements" / "jupyter.txt")
        jupyter = build(context, SCRATCH)
        after_jupyter = digests(SCRATCH)
    subprocess.run(["docker", "image", "rm", "--force", SCRATCH], check=True, capture_output=True)
    changed = [sum(a != b for a, b in zip(before, after, strict=True)) for after in (after_code, after_jupyter)]
    kept = before[: len(before) - 4] == after_jupyter[: len(before) - 4]  # all but jupyter, verify, code, workdir
    table = ["| change | rebuild s | layers with a new digest |", "| --- | ---: | ---: |"]
    table += [f"| a line in src/ | {code:.1f} | {changed[0]} of {len(before)} |"]
    table += [f"| a line in requirements/jupyter.txt | {jupyter:.1f} | {changed[1]} of {len(before)} |"]
    return Section(
        "Rebuild",
        table,
        [
            Promise("rebuild after a line in src/", f"{code:.1f} s", "≤ 15 s", code <= 15),
            Promise("rebuild of the jupyter layer", f"{jupyter:.1f} s", "≤ 60 s", jupyter <= 60),
            Promise("CUDA and torch layers keep their digests", "yes" if kept else "no", "yes", kept),
        ],
    )
