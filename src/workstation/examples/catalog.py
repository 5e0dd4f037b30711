"""The worked examples in reading order. No torch here: listing them must be instant."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol, cast

from workstation.errors import SettingError
from workstation.training.metrics import Metrics


class Example(Protocol):
    """A module of this package: short, reads like its chapter."""

    PROMISE: str  # the threshold, in words

    # (settings: Settings, hooks: Sequence[Hook]); the names of those types would import torch.
    def run(self, settings: Any, hooks: Any) -> Metrics: ...


@dataclass(frozen=True)
class Chapter:
    """One worked example: the module's name is also what a person types after `examples run`."""

    name: str
    title: str
    sections: str  # of the article
    notebook: str

    def load(self) -> Example:
        return cast("Example", importlib.import_module(f"workstation.examples.{self.name}"))


CHAPTERS = (Chapter("house_price", "House prices by linear regression", "A1 §4.3, §5.2–5.4", "01_house_price.ipynb"),)


def chapter(name: str) -> Chapter:
    """The chapter called `name`; SettingError names the others when there is none."""
    for each in CHAPTERS:
        if each.name == name:
            return each
    known = ", ".join(each.name for each in CHAPTERS)
    raise SettingError(f"no example is called {name!r}", remedy=f"Choose one of: {known}.")
