"""The worked examples in reading order. No torch here: listing them must be instant."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol, cast

from workstation.errors import SettingError
from workstation.training.metrics import Metrics


class Example(Protocol):
    """A module of this package: short, reads like its chapter."""

    DATA: str  # what it learns from, said with every result
    PROMISE: str  # the threshold, in words

    # (settings: Settings, hooks: Sequence[Hook]); the names of those types would import torch.
    def run(self, settings: Any, hooks: Any) -> Metrics: ...


@dataclass(frozen=True)
class Chapter:
    """One worked example: the module's name is also what a person types after `examples run`."""

    number: int
    name: str
    title: str
    sections: str  # of the article
    public: tuple[str, ...] = ()  # data or weights it takes where a person asks for them by name and a network has them

    @property
    def notebook(self) -> str:
        return f"{self.number:02d}_{self.name}.ipynb"

    def load(self, data: str | None = None) -> Example:
        """The chapter as it stands, or with public data in place of its own."""
        if data is None:
            return cast("Example", importlib.import_module(f"workstation.examples.{self.name}"))
        return cast("Example", importlib.import_module("workstation.examples.online").STUDIES[data])

    def check(self, data: str | None) -> None:
        """SettingError where the chapter takes no such public data."""
        if data is not None and data not in self.public:
            takes = " or ".join(self.public) or "its own data alone"
            raise SettingError(f"--data {data} is not for {self.name}", remedy=f"{self.name} takes {takes}.")


CHAPTERS = (
    Chapter(1, "house_price", "House prices: a line through three points", "A1 §4.3, §5.2–5.4"),
    Chapter(2, "tensors", "Tensors, graphs and gradients", "A1 §1.2, §2, §3; A2 §1.2, §2, §3"),
    Chapter(3, "linear_regression", "Linear regression three ways", "A1 §4; A2 §4.1–4.3"),
    Chapter(4, "logistic_regression", "Logistic regression", "A2 §2.6, §4.1"),
    Chapter(5, "mlp", "MLP regression and data cleaning", "A1 §3.2; A2 §4.1, §5.2", ("california-housing",)),
    Chapter(
        6,
        "cnn",
        "Image classification with a CNN",
        "A1 §6.1; A2 §4.4, §5.3–5.7, §6.1",
        ("fashion-mnist", "cifar-10"),
    ),
    Chapter(7, "transfer", "Transfer learning", "A1 §1.2; A2 §1.1–1.2", ("imagenet-resnet18",)),
    Chapter(8, "sequence", "RNN and LSTM", "A2 §4.4"),
    Chapter(9, "gan", "A generative adversarial network", "A2 §4.4"),
    Chapter(10, "text_classification", "Text classification in two languages", "A1 §3.4, §6.2; A2 §6.2"),
    Chapter(11, "translation", "Machine translation with a small Transformer", "A1 §3.4, §6.2; A2 §6.2"),
    Chapter(12, "recommendation", "Recommendation: vectors for people and films", "A1 §3.4, §6.3; A2 §6.3"),
    Chapter(13, "detection", "Object detection", "A1 §6.1; A2 §6.1"),
    Chapter(14, "verification", "Verification: are they the same?", "A1 §6.1; A2 §6.1"),
    Chapter(15, "audio", "Audio classification", "A1 §8.2; A2 §8.2"),
    Chapter(16, "anomaly", "Anomalies and fraud", "A1 §6.4; A2 §6.4"),
    Chapter(17, "tuning", "Evaluation and hyper-parameter search", "A2 §2.6, §9.5"),
    Chapter(18, "compression", "Pruning, quantisation, distillation", "A2 §2.8, §9.5"),
    Chapter(19, "deployment", "From a notebook to a service", "A2 §2.7"),
    Chapter(20, "distributed", "Distributed training", "A1 §2.3, §3.2, §9.3; A2 §2.4, §3.2, §9.3"),
    Chapter(21, "profiling", "Profiling and TensorBoard", "A2 §7.2"),
    Chapter(22, "multilingual", "Many languages, one model", "A1 §9.4; A2 §9.4", ("bert-multilingual",)),
    Chapter(23, "fault_diagnosis", "Fault diagnosis from vibration", "A1 §6.4; A2 §6.4"),
    Chapter(30, "llm_pretrain", "A language model from scratch", "A1 §1.1; A2 §1.1"),
    Chapter(31, "llm_finetune", "Teaching a language model to answer", "A1 §1.1; A2 §1.1"),
    Chapter(32, "llm_serve", "A language model at an address", "A2 §2.7"),
)


def chapter(name: str) -> Chapter:
    """The chapter called `name`; SettingError names the others when there is none."""
    for each in CHAPTERS:
        if each.name == name:
            return each
    known = ", ".join(each.name for each in CHAPTERS)
    raise SettingError(f"no example is called {name!r}", remedy=f"Choose one of: {known}.")
