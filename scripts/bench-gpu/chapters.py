"""What --compile and --amp bring to chapters, steady step by steady step. Each chapter's promise must hold as well."""

from __future__ import annotations

import dataclasses
import importlib.util

import torch
from part import Part, Row, Times

from workstation.examples.catalog import chapter
from workstation.training.settings import Settings

CHAPTERS = ("cnn", "transfer", "text_classification", "translation")


def measure(name: str, steps: int, dry: bool) -> Row:  # noqa: ARG001 - a chapter has its own number of steps
    on = torch.device("cpu" if dry else "cuda")
    plain = Settings(on, epochs=1 if dry else None)
    ways = {"plain": plain, "--amp": dataclasses.replace(plain, amp=True)}
    if not dry:
        ways["--compile"] = dataclasses.replace(plain, compile=True)
    example, seconds, broken = chapter(name).load(), {}, []
    for way, settings in ways.items():
        times = Times()
        if not example.run(settings, [times]).holds() and not dry:
            broken.append(way)
        seconds[way] = times.steady
    return {
        "chapter": name,
        "plain, ms a step": "dry run" if dry else f"{1e3 * seconds['plain']:.2f}",
        "--amp ÷ plain": "dry run" if dry else f"{seconds['--amp'] / seconds['plain']:.2f}",
        "--compile ÷ plain": "dry run" if dry else f"{seconds['--compile'] / seconds['plain']:.2f}",
        "promise": "not asked" if dry else f"broken: {', '.join(broken)}" if broken else "holds",
    }


def missing(_row: str, _dry: bool) -> str | None:
    absent = [name for name in ("sklearn", "torchvision") if importlib.util.find_spec(name) is None]
    return f"{', '.join(absent)} not installed" if absent else None


PART = Part(
    title="Chapters: --amp and --compile, a step in the steady state",
    columns=("chapter", "plain, ms a step", "--amp ÷ plain", "--compile ÷ plain", "promise"),
    rows=CHAPTERS,
    measure=measure,
    missing=missing,
)
