"""The digits as PNG files, and what is made of them: batches decoded row by row, or once and for all."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.profiler import record_function
from torch.utils.data import DataLoader, Dataset

from workstation.examples.datasets import digits
from workstation.training.batches import Batches
from workstation.training.loop import Batch

SIZE = 64  # rows a batch


def as_files() -> tuple[list[bytes], Tensor]:
    """1797 digits as a camera or a web page would deliver them: PNG."""
    images, classes = digits()
    files = []
    for image in (16 * images[:, 0]).to(torch.uint8).numpy():
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG")
        files.append(buffer.getvalue())
    return files, classes


class Files(Dataset[tuple[Tensor, Tensor]]):
    """The usual way: a row is decoded when it is asked for, in every epoch anew."""

    def __init__(self, files: list[bytes], classes: Tensor) -> None:
        self._files, self._classes = files, classes

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        pixels = np.asarray(Image.open(io.BytesIO(self._files[row])), dtype=np.float32)
        return torch.from_numpy(pixels).unsqueeze(0) / 16, self._classes[row]


class FileBatches:
    """A DataLoader over the files, in the very order of `Batches`, so that the two can be compared bit by bit."""

    def __init__(self, files: list[bytes], classes: Tensor, seed: int, workers: int = 0) -> None:
        self._order = Batches((torch.arange(len(files)),), SIZE, seed)
        self._files, self._workers = Files(files, classes), workers

    def set_epoch(self, epoch: int) -> None:
        self._order.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        rows = [rows.tolist() for (rows,) in self._order]
        return iter(DataLoader(self._files, batch_sampler=rows, num_workers=self._workers))


def decoded_once(files: list[bytes], classes: Tensor, seed: int) -> Batches:
    """The remedy: what never changes is computed once, and a batch is one indexing operation."""
    rows = Files(files, classes)
    return Batches((torch.stack([rows[row][0] for row in range(len(rows))]), classes), SIZE, seed)


@dataclass
class Annotated:
    """Any batches, with the wait for each one marked for the profiler: `record_function` names what you choose."""

    batches: FileBatches | Batches

    def __iter__(self) -> Iterator[Batch]:
        source = iter(self.batches)
        while True:
            with record_function("wait for a batch"):
                batch = next(source, None)
            if batch is None:
                return
            yield batch
