"""How good are generated pictures? Six numbers, because every kind of bad generator does well by several of them.

Are they digits? Are all ten there? How much of what is real do they reach? Do they repeat themselves? Are they copies?
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workstation.training.scores import roc_auc

NEIGHBOURS = 5


@dataclass(frozen=True)
class SampleScores:
    """What real pictures would get stands behind each."""

    recognised: float  # the share that the judge gives one digit with a probability of 0.9 or more; 0.98
    classes: float  # how many digits there are, evenly counted: exp(entropy) of the judge's answers; 10
    coverage: float  # the share of unseen real pictures that have a generated one nearby; 0.97
    poorest_digit: float  # the same within the digit that is covered least; 0.9
    repeating: float  # how often one lies nearer to its like than real ones do, in the digit where it is worst; 0.6
    copying: float  # how often one lies nearer to a training picture than an unseen real one does; 0.5


def score(generated: Tensor, judged: Tensor, train: Tensor, unseen: Tensor, digits: Tensor) -> SampleScores:
    """Judge `generated` (rows, 1, side, side) by a classifier's logits `judged` (rows, classes) and by real pictures:
    those that were trained on, and as many as generated that were not, with their `digits`."""
    named = judged.argmax(dim=1)
    of_one_digit = [(generated[named == digit], unseen[digits == digit]) for digit in range(judged.shape[1])]
    return SampleScores(
        recognised=float((judged.softmax(dim=1).amax(dim=1) >= 0.9).double().mean()),
        classes=effective_classes(named, judged.shape[1]),
        coverage=coverage(generated, unseen),
        poorest_digit=min(coverage(drawn, real) for drawn, real in of_one_digit),
        repeating=max(repeating(drawn, real) for drawn, real in of_one_digit),
        copying=copying(generated, train, unseen),
    )


def effective_classes(named: Tensor, classes: int) -> float:
    """exp(H) of how often each class is named: from 1 to `classes`."""
    share = named.bincount(minlength=classes) / len(named)
    return float(torch.special.entr(share).sum().exp())


def coverage(generated: Tensor, real: Tensor) -> float:
    """The share of the real pictures that have a generated one no further off than their fifth real neighbour.

    Real against as many real: 1 - 2^-5, about 0.97 (Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics").
    """
    if len(generated) == 0:
        return 0.0
    radius = _distances(real, real).kthvalue(NEIGHBOURS + 1, dim=1).values  # the nearest of all is the picture itself
    return float((_distances(real, generated).amin(dim=1) <= radius).double().mean())


def repeating(generated: Tensor, real: Tensor) -> float:
    """0.5: as far from each other as real pictures are; towards 1: always the same. None or one: 1."""
    if len(generated) < 2:
        return 1.0
    return _nearer(*(_distances(pictures, pictures).kthvalue(2, dim=1).values for pictures in (generated, real)))


def copying(generated: Tensor, train: Tensor, unseen: Tensor) -> float:
    """0.5: as near to the training pictures as unseen real ones are; towards 1: copies; towards 0: further off.

    Meehan et al. 2020, "A Non-Parametric Test to Detect Data-Copying in Generative Models".
    """
    return _nearer(*(_distances(pictures, train).amin(dim=1) for pictures in (generated, unseen)))


def gaussian_pictures(images: Tensor, rows: int, seed: int) -> Tensor:
    """Pictures with the mean and the covariance of real ones, and nothing else of them: what is easily learnt."""
    torch.manual_seed(seed)
    pixels = images.flatten(1).double()
    covariance = pixels.T.cov() + 1e-6 * torch.eye(pixels.shape[1])
    normal = torch.distributions.MultivariateNormal(pixels.mean(dim=0), covariance)
    return normal.sample((rows,)).float().clamp(0, 1).view(-1, *images.shape[1:])


def _nearer(generated: Tensor, real: Tensor) -> float:
    """How often a distance from `generated` is smaller than one from `real`: the Mann-Whitney statistic."""
    return roc_auc(-torch.cat([generated, real]), torch.cat([torch.ones(len(generated)), torch.zeros(len(real))]))


def _distances(one: Tensor, other: Tensor) -> Tensor:
    return torch.cdist(one.flatten(1), other.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")  # exact zeros
