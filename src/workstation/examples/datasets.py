"""The data the chapters learn from: where each set comes from, under which licence, and proof that it is that one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn import datasets, model_selection
from torch import Tensor

from workstation.errors import WorkstationError


class DataError(WorkstationError):
    """The data are not the ones that the chapter's numbers were measured on."""

    exit_code = 65


@dataclass(frozen=True)
class Source:
    """Named in every report, so that nobody takes a small bundled set for the public one it stands in for."""

    name: str
    origin: str
    licence: str
    sha256: str  # of the array as float64, little-endian

    def __str__(self) -> str:
        return f"{self.name} ({self.origin}, {self.licence})"

    def checked(self, rows: np.ndarray) -> Tensor:
        """The rows as float32; DataError where they are not the known ones."""
        digest = hashlib.sha256(np.ascontiguousarray(rows, dtype="<f8").tobytes()).hexdigest()
        if digest != self.sha256:
            raise DataError(
                f"{self.name} has checksum {digest[:12]}…, not {self.sha256[:12]}…",
                remedy="Install the scikit-learn that requirements/ locks.",
            )
        return torch.tensor(rows, dtype=torch.float32)


BREAST_CANCER = Source(
    "Breast Cancer Wisconsin (Diagnostic)",
    "UCI, bundled with scikit-learn",
    "CC BY 4.0",
    "6b202a2072f9a0385f405a8f8605b1b06f6f36ae6d23d9cd6cbbc0974a416bc7",
)

DIABETES = Source(
    "Diabetes (Efron et al. 2004)",
    "bundled with scikit-learn",
    "no licence stated by its authors",
    "6b93b2556c8942c79d8374838768047adf9d1f4044510b9f948ddace62567d75",
)

DIGITS = Source(
    "Optical Recognition of Handwritten Digits",
    "UCI, bundled with scikit-learn",
    "CC BY 4.0",
    "20def7f70a702f0af9732fbba4375e147a7d54fe70d8c45569b8e7c1c7010c10",
)


def breast_cancer() -> tuple[Tensor, Tensor]:
    """30 measurements of cell nuclei and whether the tumour is malignant (1): (569, 30) and (569, 1)."""
    bunch = datasets.load_breast_cancer()
    # scikit-learn codes malignant as 0; what one looks for should be the positive class.
    return BREAST_CANCER.checked(bunch.data), torch.tensor(1.0 - bunch.target, dtype=torch.float32).unsqueeze(1)


def diabetes() -> tuple[pd.DataFrame, Tensor]:
    """Ten measurements of 442 patients, in their own units, and how far the disease went in a year, (442, 1)."""
    bunch = datasets.load_diabetes(scaled=False, as_frame=True)
    DIABETES.checked(bunch.data.to_numpy())
    return bunch.data, torch.tensor(bunch.target.to_numpy(), dtype=torch.float32).unsqueeze(1)


def digits() -> tuple[Tensor, Tensor]:
    """1797 grey images of 8×8 from 0 to 1, and which digit each is: (1797, 1, 8, 8) and (1797,)."""
    bunch = datasets.load_digits()
    return DIGITS.checked(bunch.data).view(-1, 1, 8, 8) / 16, torch.tensor(bunch.target)


def folds(rows: int, parts: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Row numbers to train on and to test on, `parts` times: every row is tested on once."""
    tests = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).tensor_split(parts)
    return [(torch.cat([other for other in tests if other is not test]), test) for test in tests]


def split(classes: Tensor, test_share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Row numbers to train on and to test on; each class in the same proportion in both."""
    rows = torch.arange(len(classes))
    train, test = model_selection.train_test_split(
        rows, test_size=test_share, stratify=classes.flatten(), random_state=seed
    )
    return train, test
