"""Texts to learn from: what every machine has, what the project brings, a folder, or a data set of the hub."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Protocol

from workstation.errors import WorkstationError

HUB = "hub:"
TEXT_SUFFIXES = {".txt", ".md", ".rst", ".py", ".c", ".h", ".cpp", ".java", ".js", ".ts", ".go", ".rs", ".tex", ".html"}


class CorpusError(WorkstationError):
    """There is nothing to learn from, or it cannot be read. Nothing was written."""

    exit_code = 65


@dataclass(frozen=True)
class Document:
    name: str  # where it comes from; decides, with nothing else, whether it is kept for validation
    text: str


class Corpus(Protocol):
    """Named in every report with its licence."""

    @property
    def name(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def licence(self) -> str: ...
    def documents(self) -> Iterator[Document]: ...


@dataclass(frozen=True)
class StandardLibrary:
    """Python's own library: the modules that are one file each, and the pages of the reference that `help()` shows.

    `first`: so many modules alone, by their names, for a lesson that must not take long.
    """

    first: int | None = None
    name: str = "code"
    origin: str = "the single-file modules of this Python's standard library, and its `help()` topics"
    licence: str = "PSF-2.0"

    def documents(self) -> Iterator[Document]:
        for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[: self.first]:
            yield Document(path.name, read(path))
        if self.first is not None:
            return
        from pydoc_data.topics import topics

        # One document: the pages repeat one another, and a copy must not stand on both sides of the split.
        yield Document("topics", "\n\n".join(text.strip() for _, text in sorted(topics.items())) + "\n")


@dataclass(frozen=True)
class Poems:
    """Classical Chinese poems, one a document: title, poet, lines."""

    name: str = "poems"
    origin: str = "Tang poems, typed in for this project and compared with four editions"
    licence: str = "public domain"

    def documents(self) -> Iterator[Document]:
        text = (resources.files("workstation.llm") / "poems.txt").read_text(encoding="utf-8")
        for poem in text.split("\n\n")[1:]:  # the first paragraph says what the file is
            yield Document(poem.split("\n")[0], poem.strip() + "\n")


@dataclass(frozen=True)
class Folder:
    """Every text file below a directory, in the order of their names."""

    path: Path
    licence: str = "as its owner says"

    @property
    def name(self) -> str:
        return _shown(self.path.resolve().name)

    @property
    def origin(self) -> str:
        return _shown(str(self.path))

    def documents(self) -> Iterator[Document]:
        for path in sorted(self.path.rglob("*")):
            if path.is_file() and path.suffix.lower() in TEXT_SUFFIXES:
                yield Document(str(path.relative_to(self.path)), read(path))


@dataclass(frozen=True)
class HubDataset:
    """A Hugging Face data set with a column `text`: `hub:OWNER/NAME`, or `hub:OWNER/NAME:CONFIGURATION`."""

    repository: str
    configuration: str | None = None
    licence: str = "as its card on the hub says"

    @property
    def name(self) -> str:
        return self.repository.rsplit("/", maxsplit=1)[-1]

    @property
    def origin(self) -> str:
        return f"https://huggingface.co/datasets/{self.repository}"

    def documents(self) -> Iterator[Document]:
        from workstation.llm import hub

        rows = hub.dataset(self.repository, self.configuration)
        if "text" not in rows.column_names:
            raise CorpusError(
                f"{self.repository} has no column `text` but {', '.join(rows.column_names)}",
                remedy="Choose a configuration that has one, with hub:OWNER/NAME:CONFIGURATION.",
            )
        for number, row in enumerate(rows):
            if not isinstance(row["text"], str | None):
                raise CorpusError(
                    f"{self.repository}, row {number}: `text` is no text but {type(row['text']).__name__}",
                    remedy="Choose a data set whose column `text` is text.",
                )
            yield Document(str(number), row["text"] or "")


def find(name: str) -> Corpus:
    """`code`, `poems`, a directory, or `hub:OWNER/NAME`. CorpusError where there is no such thing."""
    if name.startswith(HUB):
        repository, _, configuration = name.removeprefix(HUB).partition(":")
        return HubDataset(repository, configuration or None)
    if name == "code":
        return StandardLibrary()
    if name == "poems":
        return Poems()
    if Path(name).is_dir():
        return Folder(Path(name))
    raise CorpusError(
        f"no corpus is called {name!r}", remedy="Name `code`, `poems`, a directory of text files, or hub:OWNER/NAME."
    )


def _shown(name: str) -> str:
    """A file's name may have bytes that are in no text, and these are written into reports."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def read(path: Path) -> str:
    """The file's text, which must be UTF-8: a guess at another encoding would teach the model garbage in silence."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path} is not UTF-8 (byte {error.start})",
            remedy=f"Convert it (iconv -f ITS-ENCODING -t UTF-8 {path.name}), or take it out of the folder.",
        ) from None
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}", remedy="Mend its permissions.") from error
