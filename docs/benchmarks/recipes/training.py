"""A plain training run, PyTorch alone: the seconds of its steps, as JSON."""

import json
import time

import torch
from torch import nn
from torch.nn import functional as F

WARM_UP, STEPS = 20, 200


def main() -> None:
    torch.manual_seed(0)
    images, classes = torch.randn(64, 3, 32, 32), torch.randint(10, (64,))
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 8 * 8, 10),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters())

    def train(steps: int) -> float:
        before = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(images), classes).backward()
            optimizer.step()
        return time.perf_counter() - before

    train(WARM_UP)
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "seconds": train(STEPS)}))


if __name__ == "__main__":
    main()
