"""What a fine-tuning learns from: questions with their answers.

`docstrings` is made of Python's own library: a function's signature in a sentence, English or Chinese, and what its
docstring says of it. Functions of the modules that pre-training kept aside are the held-out ones, so that a model
trained on the code has seen neither their text nor their answers.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workstation.llm.corpus import HUB, CorpusError, Document, StandardLibrary, read
from workstation.llm.prepare import kept_aside

HELD_OUT_SHARE = 10  # one conversation in so many
LONGEST = 200  # characters of a docstring's first paragraph
TEMPLATES = (
    "Write a docstring for this Python function:\n{signature}",
    "What does this Python function do?\n{signature}",
    "为下面的 Python 函数写一行文档字符串：\n{signature}",
    "下面的 Python 函数有什么用途？\n{signature}",
)
ROLES = ("system", "user", "assistant")

Message = dict[str, str]  # role, content


@dataclass(frozen=True)
class Exchange:
    """A conversation. The last message is the assistant's: that alone is learnt."""

    messages: tuple[Message, ...]
    where: str = field(default="", compare=False)  # it comes from

    @property
    def answer(self) -> str:
        return self.messages[-1]["content"]


@dataclass(frozen=True)
class Instructions:
    """To learn from, and to measure on."""

    origin: str
    licence: str
    train: tuple[Exchange, ...]
    held_out: tuple[Exchange, ...]


def find(name: str) -> Instructions:
    """`docstrings`, a file of JSON lines, or hub:OWNER/NAME; both with `messages` as OpenAI's fine-tuning has them.

    Raises CorpusError, which names the line, where there is no such thing or it cannot be read.
    """
    if name == "docstrings":
        return docstrings()
    if name.startswith(HUB):
        repository, _, configuration = name.removeprefix(HUB).partition(":")
        return _from_hub(repository, configuration or None)
    path = Path(name)
    if not path.is_file():
        raise CorpusError(
            f"no instructions are called {name!r}", remedy="Name `docstrings`, a file of JSON lines, or hub:OWNER/NAME."
        )
    # Not splitlines(): JSON may hold U+2028 and its like as they are.
    lines = enumerate(read(path).split("\n"), start=1)
    return split([_exchange(line, f"{path}, line {number}") for number, line in lines if line.strip()], name)


def docstrings(first: int | None = None) -> Instructions:
    """Of the standard library, or its `first` modules alone."""
    corpus = StandardLibrary(first)
    aside = kept_aside(corpus)
    train: list[Exchange] = []
    held_out: list[Exchange] = []
    for module in corpus.documents():
        if not module.name.endswith(".py"):
            continue
        (held_out if module.name in aside else train).extend(_of_module(module))
    known = {exchange.answer for exchange in train}
    new = [exchange for exchange in _once(held_out) if exchange.answer not in known]
    return Instructions(
        "signatures and docstrings of this Python's standard library", corpus.licence, tuple(_once(train)), tuple(new)
    )


def split(exchanges: list[Exchange], origin: str) -> Instructions:
    """Which conversations are held out follows from their text alone."""
    different = {json.dumps(exchange.messages): exchange for exchange in exchanges}
    ranked = [different[text] for text in sorted(different, key=_digest)]
    if len(ranked) < 2:
        raise CorpusError(
            f"{origin} holds {len(ranked)} different conversations",
            remedy="Give at least two: one to learn from and one to measure on.",
        )
    held_out = max(1, len(ranked) // HELD_OUT_SHARE)
    return Instructions(origin, "as its owner says", tuple(ranked[held_out:]), tuple(ranked[:held_out]))


def _of_module(module: Document) -> Iterator[Exchange]:
    for node in ast.walk(ast.parse(module.text)):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        said = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
        if not 10 <= len(said) <= LONGEST:
            continue
        signature = f"def {node.name}({ast.unparse(node.args)})"
        template = TEMPLATES[_digest(f"{module.name} {signature}")[0] % len(TEMPLATES)]
        question = template.format(signature=signature)
        turns = ({"role": "user", "content": question}, {"role": "assistant", "content": said})
        yield Exchange(turns, f"{module.name}, {node.name}")


def _once(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """Each answer once: methods of many classes say the same."""
    return list({exchange.answer: exchange for exchange in exchanges}.values())


def _exchange(line: str, where: str) -> Exchange:
    try:
        messages = json.loads(line)["messages"]
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(where, "is no JSON object with `messages`") from error
    return _checked(messages, where)


def _checked(messages: Any, where: str) -> Exchange:
    try:
        turns = tuple({"role": turn["role"], "content": turn["content"]} for turn in messages)
    except (KeyError, TypeError) as error:
        raise _unreadable(where, "has a message without role or content") from error
    if not all(turn["role"] in ROLES and isinstance(turn["content"], str) for turn in turns):
        raise _unreadable(where, f"has a message whose role is not {', '.join(ROLES)}, or whose content is not text")
    if len(turns) < 2 or turns[-1]["role"] != "assistant" or not turns[-1]["content"].strip():
        raise _unreadable(where, "does not end with an answer of the assistant's")
    return Exchange(turns, where)


def _from_hub(repository: str, configuration: str | None) -> Instructions:
    from workstation.llm import hub

    rows = hub.dataset(repository, configuration)
    if "messages" not in rows.column_names:
        raise CorpusError(
            f"{repository} has no column `messages` but {', '.join(rows.column_names)}",
            remedy="Choose a configuration that has one, with hub:OWNER/NAME:CONFIGURATION.",
        )
    exchanges = [_checked(row["messages"], f"{repository}, row {number}") for number, row in enumerate(rows)]
    return split(exchanges, f"https://huggingface.co/datasets/{repository}")


def _unreadable(where: str, what: str) -> CorpusError:
    return CorpusError(f"{where} {what}", remedy='A line is {"messages": [{"role": "user", "content": …}, …]}.')


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
