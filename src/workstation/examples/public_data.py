"""The public data that some chapters take where there is a network and a person asks for them by name.

torchvision and scikit-learn fetch them, and check them by sums of their own. They are fetched once, never unasked, and
nothing ever stands in for them: what cannot be had is an error within seconds.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from filelock import FileLock
from sklearn.datasets import _california_housing, fetch_california_housing
from torch import Tensor, nn
from torchvision import models
from torchvision.datasets import CIFAR10, FashionMNIST

from workstation import network
from workstation.errors import WorkstationError
from workstation.examples.datasets import DataError

STALL = 10.0  # seconds without a byte, after which a download is given up
FAULTS = (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError)
RESNET = models.ResNet18_Weights.DEFAULT

Read = TypeVar("Read")
Rows = tuple[Tensor, Tensor]  # (rows, channels, side, side) in uint8, as they are stored; and their classes, (rows,)


class PublicDataError(WorkstationError):
    """Public data that were asked for by name are not here, and cannot be fetched whole."""

    exit_code = 69


class CacheError(WorkstationError):
    """The cache cannot be written."""

    exit_code = 73


@dataclass(frozen=True)
class PublicSet:
    """Public data, and the library that has them."""

    name: str  # what a person types after --data
    source: str  # said with every result
    address: Callable[[], str]  # of its first file, where the library will look for it
    fetch: Callable[[Path], object]  # into an empty folder

    def __str__(self) -> str:
        return self.source

    def folder(self) -> Path:
        """Where the data lie; they are fetched if they are not here yet. Of many processes, one does it.

        Raises PublicDataError where that fails: then nothing is kept, so that half a set is never taken for a whole.
        """
        ready = cache() / self.name
        if ready.is_dir():  # also where the cache may only be read
            return ready
        part = ready.with_name(f"{self.name}.part")
        try:
            ready.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{ready}.lock", mode=0o664):  # of the group, as the cache is
                if not ready.is_dir():
                    self._fetch(part)
                    part.rename(ready)
        except OSError as error:
            raise CacheError(
                f"{ready.parent} cannot be written: {error.strerror}",
                remedy="Name a directory of your own in XDG_CACHE_HOME.",
            ) from error
        return ready

    def read(self, load: Callable[[Path], Read]) -> Read:
        """What `load` finds in the folder. DataError where that is not the whole set any more."""
        folder = self.folder()
        try:
            return load(folder)
        except Exception as error:  # damaged files: every library raises what it comes upon
            raise DataError(
                f"{folder} is damaged ({_last_line(error)})", remedy="Remove it: it is fetched again."
            ) from error

    def _fetch(self, folder: Path) -> None:
        elsewhere = f"Where there is a network, run the same command, and copy {cache() / self.name} here."
        if not network.answers(self.address()):
            raise PublicDataError(
                f"{self.name} is not on this machine, and {self.address()} does not answer", remedy=elsewhere
            )
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
        folder.mkdir()
        try:
            # Standard output is the report's: what the libraries say on it goes beside it.
            with _given_up_after(STALL), contextlib.redirect_stdout(sys.stderr):
                self.fetch(folder)
        except FAULTS as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise PublicDataError(
                f"{self.name} could not be fetched whole ({_last_line(error)})", remedy=elsewhere
            ) from error


def _last_line(error: Exception) -> str:
    return str(error).strip().split("\n")[-1]


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "workstation"


@contextlib.contextmanager
def _given_up_after(seconds: float) -> Iterator[None]:
    # The libraries give no time limit of their own, so they would wait for ever on a server that falls silent.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _resnet18_weights(folder: Path) -> dict[str, Any]:
    weights: dict[str, Any] = RESNET.get_state_dict(model_dir=folder, check_hash=True, weights_only=True)
    return weights


FASHION_MNIST = PublicSet(
    "fashion-mnist",
    "Fashion-MNIST (Zalando, MIT licence, MD5 checked by torchvision)",
    address=lambda: f"{FashionMNIST.mirrors[0]}{FashionMNIST.resources[0][0]}",
    fetch=lambda folder: FashionMNIST(folder, download=True),
)

CIFAR_10 = PublicSet(
    "cifar-10",
    "CIFAR-10 (Krizhevsky 2009, no licence stated by its author, MD5 checked by torchvision)",
    address=lambda: CIFAR10.url,
    fetch=lambda folder: CIFAR10(folder, download=True),
)

CALIFORNIA_HOUSING = PublicSet(
    "california-housing",
    "California housing (Pace and Barry 1997, no licence stated by its authors, SHA-256 checked by scikit-learn)",
    address=lambda: _california_housing.ARCHIVE.url,
    fetch=lambda folder: fetch_california_housing(data_home=folder, n_retries=1),
)

IMAGENET_RESNET18 = PublicSet(
    "imagenet-resnet18",
    "ResNet-18's weights from ImageNet-1K (torchvision, ImageNet's terms: research; SHA-256's start checked by torch)",
    address=lambda: RESNET.url,
    fetch=_resnet18_weights,
)

SETS = {each.name: each for each in (FASHION_MNIST, CIFAR_10, CALIFORNIA_HOUSING, IMAGENET_RESNET18)}


def fashion_mnist() -> tuple[Rows, Rows]:
    """Grey pictures of ten kinds of clothes, 28×28: 60 000 to train on and 10 000 to test on."""
    parts = (FASHION_MNIST.read(partial(FashionMNIST, train=train)) for train in (True, False))
    seen, unseen = ((part.data.unsqueeze(1), part.targets) for part in parts)
    return seen, unseen


def cifar_10() -> tuple[Rows, Rows]:
    """Colour photographs of ten kinds of things, 32×32: 50 000 to train on and 10 000 to test on."""
    parts = (CIFAR_10.read(partial(CIFAR10, train=train)) for train in (True, False))
    seen, unseen = (
        (torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets)) for part in parts
    )
    return seen, unseen


def california_housing() -> tuple[pd.DataFrame, Tensor]:
    """Eight numbers of each of 20 640 districts, and the median price of a house there in 100 000 $, (20640, 1)."""
    bunch = CALIFORNIA_HOUSING.read(
        lambda folder: fetch_california_housing(data_home=folder, download_if_missing=False, as_frame=True)
    )
    return bunch.data, torch.tensor(bunch.target.to_numpy(), dtype=torch.float32).unsqueeze(1)


def imagenet_resnet18() -> nn.Module:
    """It has seen 1.28 million photographs of 1000 kinds of things: (rows, 3, side, side) to (rows, 1000)."""
    network = models.resnet18()
    network.load_state_dict(IMAGENET_RESNET18.read(_resnet18_weights))
    return network
