"""Whether DataLoader workers can hand over batches through /dev/shm as it is: dataloader.py

Two workers, each with two batches of 32 images of 3 x 224 x 224 float32 in flight (19 MB apiece): what an ordinary
image classification needs, and more than the 64 MB Docker gives unless told.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

BATCH, IMAGE, BATCHES, WORKERS, PREFETCH = 32, (3, 224, 224), 8, 2, 2


class Numbered(Dataset[torch.Tensor]):
    """Image i is filled with i: what arrives can be checked."""

    def __len__(self) -> int:
        return BATCH * BATCHES

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full(IMAGE, float(index))


def load() -> dict[str, object]:
    loader = DataLoader(Numbered(), batch_size=BATCH, num_workers=WORKERS, prefetch_factor=PREFETCH, timeout=60)
    intact, batches = True, 0
    for number, batch in enumerate(loader):
        expected = torch.arange(number * BATCH, (number + 1) * BATCH, dtype=torch.float32)
        intact = intact and bool((batch == expected.view(BATCH, 1, 1, 1)).all())
        if number == 0:
            time.sleep(2)  # a training step: meanwhile the workers fill what they may prefetch
        batches += 1
    return {"batches": batches, "intact": intact}


def main() -> None:
    shm = os.statvfs("/dev/shm") if Path("/dev/shm").is_dir() else None
    document: dict[str, object] = {
        "shm_bytes": shm.f_frsize * shm.f_blocks if shm else 0,
        "needed_bytes": 4 * BATCH * IMAGE[0] * IMAGE[1] * IMAGE[2] * (WORKERS * PREFETCH),
        "workers": WORKERS,
    }
    try:
        document.update(load())
    except Exception as error:  # whatever it is, it is the finding
        document["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(document))


if __name__ == "__main__":
    main()
