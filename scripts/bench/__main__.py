"""Measure the image and write docs/benchmarks/image.md: sizes, and ratios of things timed side by side in one run.

    python scripts/bench [--pairs N] [--only sizes start …]

Absolute seconds belong to one machine; what is promised are ratios. A pair is timed A B A B …, and the median of the
pairwise ratios is reported. With --only, the other sections stay as they were measured last, with their own date.
Exit codes: 0 every promise is kept, 1 one is not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from chapters import measure_chapters
from engine import RESULTS, build_settings, output
from measured import Section
from rebuild import measure_rebuild
from rich.console import Console
from sizes import measure_sizes
from timing import measure_import, measure_start
from training import measure_scaling, measure_training
from update import measure_update

KEPT = RESULTS / "image.json"
REPORT = RESULTS / "image.md"
MEASURES: Mapping[str, Callable[[int], Section]] = {
    "sizes": measure_sizes,
    "start": measure_start,
    "import": measure_import,
    "rebuild": measure_rebuild,
    "update": measure_update,
    "training": measure_training,
    "scaling": measure_scaling,
    "chapters": measure_chapters,
}
console = Console(stderr=True)


def machine() -> str:
    engine = output("docker", "version", "--format", "{{.Server.Version}}")
    base = build_settings()["BASE_IMAGE"]
    return f"{time.strftime('%Y-%m-%d')}, Docker {engine}, {os.cpu_count()} CPU cores, no GPU, base `{base}`"


def kept_sections() -> dict[str, Section]:
    documents = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return {name: Section.from_document(document) for name, document in documents.items()}


def report(sections: Mapping[str, Section]) -> str:
    lines = [
        "# The image, measured",
        "",
        "By `make bench`. Seconds belong to the machine; the ratios were timed pair by pair in one run.",
        "",
        "| promise | measured | limit | kept |",
        "| --- | ---: | ---: | --- |",
        *(promise.row() for section in sections.values() for promise in section.promises),
    ]
    for section in sections.values():
        lines += ["", f"## {section.title}", "", f"{section.when}.", "", *section.table]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    arguments = parser.parse_args()
    sections = kept_sections()
    for name in arguments.only:
        console.rule(name)
        sections[name] = replace(MEASURES[name](arguments.pairs), when=machine())
        console.print("\n".join(sections[name].table), markup=False)
        ordered = {key: sections[key] for key in MEASURES if key in sections}
        KEPT.write_text(json.dumps({key: section.to_document() for key, section in ordered.items()}, indent=1) + "\n")
        REPORT.write_text(report(ordered))
    broken = [promise for name in arguments.only for promise in sections[name].promises if not promise.kept]
    for promise in broken:
        print(f"bench: not kept: {promise.what}: {promise.measured}, {promise.limit}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
