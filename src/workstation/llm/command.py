"""`workstation llm prepare | pretrain`; `trial` and `onward` add the rest.

No torch before a run: `--help` must be instant.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workstation.arguments import positive, refuse_with_resume, seed
from workstation.errors import SettingError
from workstation.llm import onward, trial
from workstation.llm.settings import PRESETS, Preset, preset
from workstation.llm.trial import CORPORA

if TYPE_CHECKING:
    from workstation.llm.data import Data
    from workstation.llm.run import Run

SUMMARY = "train a language model of your own: prepare text, pre-train, fine-tune, evaluate, export, serve"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="ACTION", required=True)

    preparing = _action(commands, "prepare", "turn a corpus into a tokenizer and shards of tokens", prepare)
    preparing.add_argument("corpus", metavar="CORPUS", help=CORPORA)
    _add_preset(preparing, "whose vocabulary to learn")
    preparing.add_argument("--tokenizer", type=Path, metavar="DIR", help="use the tokenizer of these data or this run")
    preparing.add_argument("--out", type=Path, metavar="DIR", help="a new directory; default: ~/data/CORPUS-VOCABULARY")

    training = _action(commands, "pretrain", "train a new model on prepared data", pretrain)
    training.add_argument("--preset", choices=PRESETS, help="its shape and recipe; default: tiny")
    training.add_argument("--data", type=Path, metavar="DIR", help="what `prepare` wrote; default: `code`; with "
                          "--resume: where they are now")  # fmt: skip
    training.add_argument("--steps", type=positive, help="default: as many as the preset asks for")
    training.add_argument("--micro-batch", type=positive, metavar="ROWS", help="rows computed at once, to save memory")
    training.add_argument("--seed", type=seed, help="default: 0")
    training.add_argument("--amp", action="store_true", help="bfloat16 products on a CPU too, where it has them (AMX)")
    training.add_argument("--out", type=Path, metavar="DIR", help="a new directory; default: ~/runs/llm-PRESET/001, …")
    training.add_argument("--resume", type=Path, metavar="DIR", help="go on with the stopped run in DIR")
    training.add_argument("--shard", action="store_true", help="under torchrun: FSDP2 instead of DDP")
    training.epilog = "On several GPUs: torchrun --standalone --nproc-per-node gpu -m workstation llm pretrain"
    _add_device(training)

    for later in (trial, onward):
        later.add_actions(partial(_action, commands), _add_device)


def prepare(arguments: argparse.Namespace) -> int:
    """Write the data and say what they are."""
    from workstation.llm import corpus
    from workstation.llm.tokens import Tokenizer

    chosen = preset(arguments.preset)
    tokenizer = Tokenizer.load(arguments.tokenizer) if arguments.tokenizer else None
    data = _prepare(corpus.find(arguments.corpus), chosen, arguments.out, tokenizer)
    about = data.about
    print(f"{about.corpus}: {about.origin} ({about.licence})")
    for split, tokens in about.tokens.items():
        print(f"{split}: {about.documents[split]:,} documents, {about.bytes[split]:,} bytes, {tokens:,} tokens")
    print(f"vocabulary: {about.vocabulary:,}")
    print(f"kept in {data.directory}")
    return 0


def pretrain(arguments: argparse.Namespace) -> int:
    """Train, keep the run, and say how good it became. Under torchrun, rank 0 speaks for all."""
    if arguments.resume:
        refuse_with_resume(arguments, ("preset", "steps", "micro_batch", "seed", "amp", "out"))
    chosen = _adjusted(preset(arguments.preset or "tiny"), arguments)
    from workstation.training import distributed
    from workstation.training.preemption import stoppable

    with stoppable(), distributed.joined(arguments.device) as on:
        run = _run(chosen, arguments, on)
        try:
            report = run.train()
        except KeyboardInterrupt:
            again = f"workstation llm pretrain --resume {run.directory}"
            print(f"\nworkstation: stopped. To go on: {again}", file=sys.stderr)
            raise
        if distributed.rank() != 0:
            return 0
    _show(
        f"{report['preset']['name']}, {report['parameters']:,} parameters, on {report['device']}",
        {name: report[name] for name in ("training_loss", "validation_loss", "perplexity", "bits_per_byte")}
        | {"tokens per second": report["tokens_per_second"], "MFU": report["mfu"], "seconds": report["seconds"]},
    )
    print(f"MFU: {report['mfu_formula']}")
    print(f"kept in {run.directory}; try: workstation llm sample {run.directory}")
    return 0


def _run(chosen: Preset, arguments: argparse.Namespace, on: Any) -> Run:
    from workstation.llm.data import Data
    from workstation.llm.run import METRICS, Run, must_fit, settings
    from workstation.training import distributed

    if arguments.resume:
        run = Run.stopped(arguments.resume, on, arguments.shard, arguments.data)
        if (run.directory / METRICS).exists():
            raise SettingError(
                f"--resume {run.directory} is finished",
                remedy=f"Try it: workstation llm sample {run.directory}. More steps are a new run, with --steps.",
            )
        return run
    must_fit(chosen, on)  # before minutes go into preparing data for it
    told = settings(chosen, on, arguments.seed or 0, arguments.amp, arguments.shard)
    directory = arguments.data or distributed.from_first(lambda: _default_data(chosen).directory)
    return Run.new(chosen, Data(directory), told, arguments.out)


def _action(commands: Any, name: str, summary: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    parser.set_defaults(run=run)
    return parser


def _add_preset(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--preset", choices=PRESETS, default="tiny", help=f"{what}; default: %(default)s")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: the GPU if any")


def _default_data(chosen: Preset) -> Data:
    """The code corpus in the preset's vocabulary, prepared at the first use."""
    from workstation.llm import corpus
    from workstation.llm.data import ABOUT, Data

    source = corpus.find("code")
    directory = _data_directory(source.name, chosen)
    if (directory / ABOUT).is_file():
        return Data(directory)
    print(f"workstation: preparing {source.origin} in {directory}", file=sys.stderr)
    return _prepare(source, chosen, directory, None)


def _prepare(source: Any, chosen: Preset, out: Path | None, tokenizer: Any) -> Data:
    from workstation.llm.prepare import prepare as write

    return write(source, out or _data_directory(source.name, chosen), chosen.shape.vocabulary, tokenizer)


def _data_directory(name: str, chosen: Preset) -> Path:
    return Path.home() / "data" / f"{name}-{chosen.shape.vocabulary}"


def _adjusted(chosen: Preset, arguments: argparse.Namespace) -> Preset:
    """The preset with the steps and the micro-batch that were asked for."""
    recipe = chosen.recipe
    if arguments.steps:
        stretch, warmup = min(recipe.stretch, arguments.steps), min(recipe.warmup, arguments.steps // 10)
        recipe = dataclasses.replace(recipe, steps=arguments.steps, stretch=stretch, warmup=warmup)
    if arguments.micro_batch:
        if recipe.batch % arguments.micro_batch:
            raise SettingError(
                f"--micro-batch {arguments.micro_batch} does not divide the batch of {recipe.batch} rows",
                remedy="Choose a number that does.",
            )
        recipe = dataclasses.replace(recipe, accumulate=recipe.batch // arguments.micro_batch)
    return dataclasses.replace(chosen, recipe=recipe)


def _show(title: str, numbers: dict[str, float | None]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("measure", "value", title=title, title_justify="left")
    for name, value in numbers.items():
        table.add_row(name.replace("_", " "), "unknown here" if value is None else f"{value:,.4g}")
    Console(soft_wrap=True, highlight=False).print(table)
