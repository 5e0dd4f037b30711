"""Many languages, one model: learn in English, be asked in Chinese (A1 §9.4, A2 §9.4).

The article loads bert-base-uncased, which knows English alone, or has all texts translated first. A multilingual BERT
needs no translation: it has read texts of all its languages beforehand. Asked for by name it is the Hub's (178 million
weights, 0.7 GB to fetch); else a tiny one, pre-trained here. The result says which, and from there on the code is the
same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from workstation.examples import guestbook, hub, tiny_bert
from workstation.examples.bert_classifier import Classifier, load
from workstation.examples.hub import Located
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit, predict
from workstation.training.scores import accuracy
from workstation.training.settings import Settings

DATA = f"{guestbook.SOURCE}, in place of SST-2 and ChnSentiCorp"
PROMISE = (
    "after labels in English alone, 95 % of new remarks in English and in Chinese; "
    "without pre-training, at most 75 % of the Chinese ones"
)


@dataclass(frozen=True)
class Result:
    """Accuracy on remarks about other things than the labelled ones. The labels are in English alone."""

    model: str
    english: float
    chinese: float
    english_from_nothing: float  # the same network and labels, without the pre-training
    chinese_from_nothing: float

    def holds(self) -> bool:
        return min(self.english, self.chinese) >= 0.95 and self.chinese_from_nothing <= 0.75


def run(settings: Settings, hooks: Sequence[Hook] = (), model: str | None = None) -> Result:
    """`model`: a name on the Hub or a folder (ModelError where it cannot be had); None pre-trains the tiny one."""
    start = None if model is None else hub.locate(model)
    with tempfile.TemporaryDirectory() as folder:
        if start is None:
            tiny_bert.pretrain(Path(folder), settings, hooks)
        found = []
        for name, pretrained in [("tuned", True), ("nothing", False)]:
            tokenizer, classifier = load(start or Located(folder, local=True), settings, pretrained=pretrained)
            fine_tune(classifier, tokenizer, settings, hooks, name=name)
            found += scores(classifier, tokenizer, settings)
    return Result(start.name if start else "tiny BERT, pre-trained here", *found)


def fine_tune(
    classifier: Classifier,
    tokenizer: PreTrainedTokenizerBase,
    settings: Settings,
    hooks: Sequence[Hook] = (),
    *,
    name: str,
) -> list[float]:
    """On English remarks alone."""
    texts, verdicts = guestbook.labelled(settings.seed)
    epochs = settings.epochs or 8
    # At the rate that a tiny network needs, a large one forgets what it knew.
    rate = 1e-3 if classifier.bert.config.hidden_size < 256 else 3e-5
    optimizer = torch.optim.AdamW([weight for weight in classifier.parameters() if weight.requires_grad], lr=rate)
    return fit(
        classifier,
        Batches((tiny_bert.pieces(tokenizer, texts), verdicts), size=16, seed=settings.seed),
        F.cross_entropy,
        optimizer,
        epochs=epochs,
        settings=settings,
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=epochs + 1),
        hooks=hooks,
        name=name,
    )


def scores(classifier: Classifier, tokenizer: PreTrainedTokenizerBase, settings: Settings) -> list[float]:
    """The accuracy in English and in Chinese."""
    found = []
    for language in range(2):
        texts, verdicts = guestbook.unseen(settings.seed, language)
        answers = predict(classifier, tiny_bert.pieces(tokenizer, texts), settings=settings)
        found.append(accuracy(answers, verdicts))
    return found
