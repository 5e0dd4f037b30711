"""Verification: are these two pictures of the same one? (A1 §6.1; A2 §6.1, face recognition)

A classifier knows the classes that it was trained on. A door must know people who came later. So a network learns no
names but a distance: pictures of one identity near each other, of two apart. It is tried on identities that it never
saw. Here an identity is a printed character and each font is another photograph of it; faces need a download.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workstation.examples.cnn import convnet, move
from workstation.examples.datasets import DIGITS, digits
from workstation.examples.glyphs import CHARACTERS, SOURCE, printed
from workstation.examples.pairs import best_threshold, distances, pairs
from workstation.training.batches import Batches
from workstation.training.loop import Hook, fit, predict
from workstation.training.parallel import all_rows
from workstation.training.scores import roc_auc
from workstation.training.seed import seed_everything
from workstation.training.settings import Settings

TUNE, TEST = 5, 10  # letters and digits kept aside, of 36, with both their cases
pose = partial(move, most=0.2)  # no camera sees a face twice from the same place

DATA = f"{SOURCE}, in place of LFW; and {DIGITS}"
PROMISE = (
    "of two characters never seen in training it tells whether they are the same: ROC AUC at least 0.90 and 0.1 above "
    "the pixels', 80 % right at a threshold that other characters set"
)


@dataclass(frozen=True)
class Result:
    """On as many pairs of the same as of different pictures. The threshold is chosen on characters of neither set."""

    auc: float  # characters never seen in training
    accuracy: float
    pixel_auc: float  # the distance of the pictures themselves, on the same pairs
    pixel_accuracy: float
    handwritten_auc: float  # digits from another world than the training pictures: an honest limit
    handwritten_pixel_auc: float

    def holds(self) -> bool:
        return self.auc >= 0.90 and self.auc >= self.pixel_auc + 0.1 and self.accuracy >= 0.80


def run(settings: Settings, hooks: Sequence[Hook] = ()) -> Result:
    images, characters = printed()
    train_rows, tune_rows, test_rows = split_by_letter(characters, settings.seed)
    network = train(images[train_rows], characters[train_rows], settings, hooks)
    posed = pose(images)
    ways = {"network": embed(network, posed, settings), "pixels": posed.flatten(1)}
    tune, test = (pairs(characters, rows, settings.seed) for rows in (tune_rows, test_rows))

    aucs, accuracies = {}, {}
    for way, vectors in ways.items():
        aucs[way] = roc_auc(-distances(vectors, test), test.same)
        threshold = best_threshold(distances(vectors, tune), tune.same)
        accuracies[way] = float(((distances(vectors, test) <= threshold) == test.same).double().mean())

    handwritten, names = digits()
    handwritten, written = pose(handwritten), pairs(names, torch.arange(len(names)), settings.seed)
    return Result(
        auc=aucs["network"],
        accuracy=accuracies["network"],
        pixel_auc=aucs["pixels"],
        pixel_accuracy=accuracies["pixels"],
        handwritten_auc=roc_auc(-distances(embed(network, handwritten, settings), written), written.same),
        handwritten_pixel_auc=roc_auc(-distances(handwritten.flatten(1), written), written.same),
    )


def split_by_letter(characters: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row numbers to train on, to choose the threshold on, to test on. An s is no stranger to who knows S: both cases
    of a letter stay together."""
    letters = sorted(set(CHARACTERS.lower()))
    order = torch.randperm(len(letters), generator=torch.Generator().manual_seed(seed))
    rank = {letters[letter]: place for place, letter in enumerate(order.tolist())}
    ranks = torch.tensor([rank[character.lower()] for character in CHARACTERS])[characters]
    tune, test = (ranks >= TEST) & (ranks < TEST + TUNE), ranks < TEST
    train_rows, tune_rows, test_rows = (chosen.nonzero().flatten() for chosen in (~(tune | test), tune, test))
    return train_rows, tune_rows, test_rows


def train(images: Tensor, identities: Tensor, settings: Settings, hooks: Sequence[Hook] = ()) -> nn.Sequential:
    """Chapter 6's network, with 32 numbers for a head in place of ten logits."""
    seed_everything(settings.seed)
    network = convnet(side=8, classes=32)
    epochs = settings.epochs or 20
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.005)
    fit(
        network,
        Batches((images, identities), size=128, seed=settings.seed, augment=pose),
        contrastive_loss,
        optimizer,
        epochs=epochs,
        settings=settings,
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.005, total_steps=epochs + 1),
        hooks=hooks,
        name="verification",
    )
    return network


def contrastive_loss(embeddings: Tensor, identities: Tensor, temperature: float = 0.1) -> Tensor:
    """Each picture should find the others of its identity among all of the batch: (rows, size), (rows,) to a number.

    Khosla et al. 2020, "Supervised Contrastive Learning", the loss named L_out. A picture without company is left out.
    """
    embeddings, identities = all_rows(embeddings), all_rows(identities)
    directions = F.normalize(embeddings.float())
    itself = torch.eye(len(directions), dtype=torch.bool, device=directions.device)
    similarity = (directions @ directions.T / temperature).masked_fill(itself, -torch.inf)
    share = similarity.log_softmax(dim=1)
    same = (identities[:, None] == identities[None, :]) & ~itself
    others = same.sum(dim=1)
    found = share.masked_fill(~same, 0).sum(dim=1) / others.clamp(min=1)
    return -found.sum() / (others > 0).sum().clamp(min=1)


def embed(network: nn.Module, images: Tensor, settings: Settings) -> Tensor:
    """A point on the unit sphere for each picture, (rows, 32)."""
    return F.normalize(predict(network, images, settings=settings))
