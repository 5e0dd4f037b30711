"""`workstation llm evaluate | sample`: how good a model is, and what it says. No torch before a run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from workstation.arguments import positive, seed
from workstation.errors import SettingError
from workstation.llm.onward import MODEL, temperature, words

if TYPE_CHECKING:
    import torch

    from workstation.llm.evaluate import Score

CORPORA = "`code` (Python's own library), `poems`, a directory of text files, or hub:OWNER/NAME"


def add_actions(
    action: Callable[..., argparse.ArgumentParser], add_device: Callable[[argparse.ArgumentParser], None]
) -> None:
    evaluating = action("evaluate", "loss, perplexity and bits per byte, beside what counting does", evaluate)
    evaluating.add_argument("model", metavar="MODEL", help=MODEL)
    evaluating.add_argument("--data", metavar="DATA", help="what `prepare` wrote, for a run of `pretrain`, whose own "
                            f"are the default; or, for any model, a text: {CORPORA}; default: code")  # fmt: skip
    evaluating.add_argument("--json", action="store_true", help="print the report as JSON")
    add_device(evaluating)

    sampling = action("sample", "let a trained model go on with a text", sample)
    sampling.add_argument("model", metavar="MODEL", help=MODEL)
    sampling.add_argument("prompt", nargs="?", type=words, default="", help="the text to go on with; default: none")
    sampling.add_argument("--chat", action="store_true", help="the prompt is a question: answer it")
    sampling.add_argument("--tokens", type=positive, default=200, help="at most so many; default: %(default)s")
    sampling.add_argument(
        "--temperature", type=temperature, default=0.8, help="0: always the likeliest; default: %(default)s"
    )
    sampling.add_argument("--seed", type=seed, default=0, help="default: %(default)s")
    add_device(sampling)


def evaluate(arguments: argparse.Namespace) -> int:
    """A run of ours, beside what it began as and what counting does; any model on a text."""
    from workstation.llm.data import ABOUT
    from workstation.llm.run import holds_run
    from workstation.training import device

    on, prepared = device.choose(arguments.device), arguments.data and (Path(arguments.data) / ABOUT).is_file()
    ours = holds_run(Path(arguments.model))
    if prepared and not ours:
        raise SettingError(
            f"{arguments.data} holds tokens, which {arguments.model} may read as other words",
            remedy="Name the text itself with --data: a directory, `code`, `poems`, or hub:OWNER/NAME.",
        )
    if ours and (prepared or not arguments.data):
        known = _rungs(Path(arguments.model), arguments.data, on)
    else:
        known = _of_text(arguments.model, arguments.data or "code", on)
    if arguments.json:
        numbers = {
            name: {"loss": score.loss, "perplexity": score.perplexity, "bits_per_byte": score.bits_per_byte}
            for name, score in known.items()
        }
        print(json.dumps(numbers))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("validation", "loss", "perplexity", "bits per byte", box=None, pad_edge=False)
    for name, score in known.items():
        table.add_row(name, f"{score.loss:.3f}", f"{score.perplexity:,.1f}", f"{score.bits_per_byte:.3f}")
    Console(soft_wrap=True, highlight=False).print(table)
    return 0


def _rungs(directory: Path, data_directory: str | None, on: torch.device) -> dict[str, Score]:
    """From knowing nothing to the trained model, on the same targets."""
    from workstation.llm import evaluate as measures
    from workstation.llm.data import VALIDATION, Data, Rows
    from workstation.llm.run import Run

    run = Run.stopped(directory, on)
    data = Data(Path(data_directory)) if data_directory else run.data
    data.must_fit(run.tokenizer)
    rows = Rows(data, VALIDATION, run.preset.shape.context)
    lengths = run.tokenizer.byte_lengths()
    recipe = run.preset.recipe
    score = partial(measures.score, rows=rows, byte_lengths=lengths, settings=run.settings,
                    size=recipe.micro_batch, masked=recipe.masked)  # fmt: skip
    scores: dict[str, Score | None] = {
        "every token as likely": measures.uniform(data),
        "untrained": score(run.untrained()),
        "5-grams of the training text": measures.counted(data),
        "trained": score(run.trained()),
    }
    return {name: score for name, score in scores.items() if score is not None}


def _of_text(model: str, text: str, on: torch.device) -> dict[str, Score]:
    """The documents of a corpus that pre-training keeps aside; of an adapter, its model alone as well."""
    from workstation.llm import causal, corpus
    from workstation.llm import evaluate as measures
    from workstation.llm.prepare import kept_aside

    source = corpus.find(text)
    aside = kept_aside(source)
    found = causal.load(model, on, dtype=causal.precision(on))
    texts = [document.text for document in source.documents() if document.name in aside]
    scores = {}
    if hasattr(found.model, "disable_adapter"):
        with found.model.disable_adapter():
            scores["without the adapter"] = measures.read(found, texts)
    return scores | {"the model": measures.read(found, texts)}


def sample(arguments: argparse.Namespace) -> int:
    """The prompt and what the model makes of it, as it comes; of a chat, the answer alone."""
    from workstation.llm import causal
    from workstation.llm.sample import Sampling
    from workstation.llm.serve.answer import Asked, answer
    from workstation.llm.serve.protocol import RequestError, conversation
    from workstation.training import device

    on = device.choose(arguments.device)
    found = causal.load(arguments.model, on, dtype=causal.precision(on))
    if arguments.chat and found.tokenizer.chat_template is None:
        raise SettingError(
            f"{found.name} has learnt no conversation (its tokenizer has no chat template)",
            remedy="Leave out --chat, or fine-tune it.",
        )
    if arguments.chat:
        try:
            prompt = conversation([{"role": "user", "content": arguments.prompt}], found)
        except RequestError as error:
            raise SettingError(str(error), remedy="Ask otherwise, or leave out --chat.") from error
    else:  # a prompt that spells a special token is text
        prompt = found.tokenizer(arguments.prompt, split_special_tokens=True)["input_ids"]
    room = found.context - len(prompt)
    if not prompt or room < 1:
        raise SettingError(
            f"the prompt has {len(prompt)} tokens, and the model reads {found.context} in all, the answer included",
            remedy="Shorten the prompt." if prompt else "Give it one.",
        )
    asked = Asked(
        tuple(prompt), min(arguments.tokens, room), arguments.temperature, arguments.seed, top_k=Sampling.top_k
    )
    print("" if arguments.chat else arguments.prompt, end="")
    for piece in answer(found, asked):
        print(piece.text, end="", flush=True)
    print()
    return 0
