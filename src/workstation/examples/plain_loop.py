"""A training loop with nothing in it that could be wrong: a yardstick for `training.loop.fit`, and for nothing else."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from workstation.training.batches import Batches


def means(model: nn.Module, batches: Batches, epochs: int) -> list[float]:
    """Train by plain gradient descent on the squared error; the mean loss of each epoch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    found = []
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        losses = []
        for x, y in batches:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        found.append(sum(losses) / len(losses))
    return found
