"""`workstation llm finetune | export | serve`: what is done with a model once there is one. No torch before a run."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

from workstation.arguments import natural, positive, seed
from workstation.doctor.units import size
from workstation.errors import SettingError

CHOICES = ("model", "data", "method", "rank", "rate", "epochs", "length", "batch", "accumulate", "recompute", "seed")
KEY = "WORKSTATION_API_KEY"
MODEL = "a directory of `pretrain`, `finetune` or `export`, any other Hugging Face directory, or a name on the hub"


def add_actions(
    action: Callable[..., argparse.ArgumentParser], add_device: Callable[[argparse.ArgumentParser], None]
) -> None:
    tuning = action(
        "finetune", "teach a model to answer, by low-rank additions to its weights or by all of them", finetune
    )
    tuning.add_argument("model", metavar="MODEL", nargs="?", help=f"{MODEL}; not with --resume")
    tuning.add_argument("--data", help="`docstrings`, a file of JSON lines with `messages`, or hub:OWNER/NAME; "
                        "default: docstrings")  # fmt: skip
    tuning.add_argument("--method", choices=("lora", "full", "qlora"), help="default: lora")
    tuning.add_argument("--rank", type=positive, help="of the additions; default: 16")
    tuning.add_argument(
        "--rate", type=rate, help="the peak learning rate; default: by the method and the model's width"
    )
    tuning.add_argument("--epochs", type=positive, help="passes over the data; default: 3")
    tuning.add_argument(
        "--length", type=positive, metavar="TOKENS", help="of a row; default: 512, or the model's context"
    )
    tuning.add_argument("--batch", type=positive, metavar="ROWS", help="rows of a step; default: 16")
    tuning.add_argument("--accumulate", type=positive, metavar="PARTS", help="compute a step in so many parts, to save "
                        "memory; default: 1")  # fmt: skip
    tuning.add_argument(
        "--recompute", action="store_const", const=True, help="activation checkpointing, to save memory"
    )
    tuning.add_argument("--seed", type=seed, help="default: 0")
    tuning.add_argument("--out", type=Path, metavar="DIR", help="a new directory; default: ~/runs/llm-finetune/001, …")
    tuning.add_argument("--resume", type=Path, metavar="DIR", help="go on with the stopped run in DIR")
    tuning.add_argument("--shard", action="store_true", help="under torchrun: FSDP2 instead of DDP, with --method full")
    tuning.epilog = "On several GPUs: torchrun --standalone --nproc-per-node gpu -m workstation llm finetune MODEL"
    add_device(tuning)

    exporting = action("export", "write a model as a Hugging Face directory, an adapter merged into it", export)
    exporting.add_argument("model", metavar="MODEL", help=MODEL)
    exporting.add_argument("--out", type=Path, metavar="DIR", required=True, help="a new directory")
    exporting.add_argument("--onnx", action="store_true", help="also as model.onnx, checked with onnxruntime")

    serving = action("serve", "answer over HTTP as OpenAI's API does", serve)
    serving.add_argument("model", metavar="MODEL", help=MODEL)
    serving.add_argument("--name", help="what clients call it; default: MODEL's last part")
    serving.add_argument("--host", default="127.0.0.1", help="default: %(default)s, this machine alone")
    serving.add_argument("--port", type=port, default=8000, help="0: any free one; default: %(default)s")
    serving.add_argument(
        "--waiting", type=natural, default=16, help="requests that may wait in line; more get 429; default: %(default)s"
    )
    serving.epilog = f"Clients must present the key in {KEY}, where that is set."
    add_device(serving)


def finetune(arguments: argparse.Namespace) -> int:
    """Train, keep the result, and say what it is worth on conversations that it never saw. Rank 0 speaks for all."""
    told = {name: value for name in CHOICES if (value := getattr(arguments, name)) is not None}
    if arguments.resume and (told or arguments.out):
        raise SettingError("other settings with --resume", remedy="A resumed run keeps those it began with.")
    if not arguments.resume and not arguments.model:
        raise SettingError("no model is named", remedy="workstation llm finetune MODEL")
    from workstation.llm.finetune import Tuning
    from workstation.llm.tuning import TuningRun
    from workstation.training import distributed
    from workstation.training.preemption import stoppable

    with stoppable(), distributed.joined(arguments.device) as on:
        if arguments.resume:
            run = TuningRun.stopped(arguments.resume, on, arguments.shard)
        else:
            run = TuningRun.new(Tuning(**told), on, arguments.out, arguments.shard)
        try:
            report = run.train()
        except KeyboardInterrupt:
            again = f"workstation llm finetune --resume {run.directory}"
            print(f"\nworkstation: stopped. To go on: {again}", file=sys.stderr)
            raise
        if distributed.rank() != 0:
            return 0
    print(f"{report['trained']:,} of {report['parameters']:,} weights trained, on {report['device']}")
    seen, rows = report["conversations"]["train"], report["rows"]
    print(f"{seen:,} conversations in {rows:,} rows, {report['filled']:.0%} full; {report['too_long']} were too long")
    print(f"loss of an answer's token on {report['conversations']['held_out']:,} held-out conversations:")
    for name, key in (
        ("counting tokens", "counted_loss"),
        ("before", "loss_before"),
        ("after", "loss_after"),
        ("after, with another's question", "loss_with_anothers_question"),
    ):
        print(f"  {name:32}{report[key]:.3f}")
    per_second = report["tokens_per_second"]  # None: a pass was a single step
    speed = "unknown" if per_second is None else f"{per_second:,.0f}"
    print(f"tokens a second: {speed}; memory at the peak: {size(report['peak_memory'])}")
    print(f"kept in {run.directory}; try: workstation llm serve {run.directory}")
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write it, having compared its logits."""
    from workstation.llm import causal
    from workstation.llm import export as exporting
    from workstation.training import device

    if arguments.out.exists():  # before a large model is read
        raise SettingError(f"{arguments.out} is there already", remedy="Choose a new directory with --out.")
    on = device.choose("cpu")
    # Merged and written as ONNX a model is float32, however it was kept; a run's is copied once.
    grows = arguments.onnx or not causal.is_kept_whole(arguments.model)
    found = causal.load(arguments.model, on, check=causal.room(on, "float32" if grows else "auto"))
    rounding = exporting.export(found, arguments.out, onnx=arguments.onnx)
    print(f"kept in {arguments.out}, with {rounding or 'the same logits'}; try: workstation llm serve {arguments.out}")
    return 0


def serve(arguments: argparse.Namespace) -> int:
    """Until SIGTERM or Ctrl-C."""
    import asyncio

    from workstation.llm import causal
    from workstation.llm.serve import server
    from workstation.training import device

    name = arguments.name or Path(arguments.model).resolve().name
    key = os.environ.get(KEY) or None
    address = server.Address(name, arguments.host, arguments.port, key, waiting=arguments.waiting)
    if arguments.host not in server.LOCAL and key is None:
        print(f"workstation: anybody who reaches {arguments.host} can ask; {KEY} would ask for a key", file=sys.stderr)
    on = device.choose(arguments.device)
    sockets = server.bind(address)  # before a large model is read
    found = causal.load(arguments.model, on, dtype=causal.precision(on))
    asyncio.run(server.serve(found, address, sockets))
    return 0


def temperature(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return value


def words(text: str) -> str:
    """What a terminal sends in another encoding has bytes that no tokenizer knows."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError("it is not UTF-8") from error
    return text


def rate(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value


def port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)
