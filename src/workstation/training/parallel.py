"""One model trained by many processes, each on its own rows, as if by one on all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from workstation.training import distributed
from workstation.training.settings import Settings


def parallel(model: nn.Module, optimizer: Optimizer, settings: Settings) -> nn.Module:
    """What to call instead of `model`, which it trains: each backward leaves the mean of the ranks' gradients.

    DDP keeps a whole replica on every rank. `settings.shard` (FSDP2) keeps a part of each parameter, gradient and
    moment on each: `model` is changed in place, and its parameters in `optimizer` with it.
    """
    if not dist.is_initialized():
        return model
    if settings.shard:
        _shard(model, optimizer)
        return model
    # Its statistics are averaged below; broadcasting rank 0's would throw away what the others saw.
    return DistributedDataParallel(
        model,
        device_ids=[settings.device.index] if settings.device.type == "cuda" else None,
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,  # no second copy of every gradient
    )


def _shard(model: nn.Module, optimizer: Optimizer) -> None:
    from torch.distributed.fsdp import fully_shard  # half a second, for those alone who ask for it

    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.data, src=0)  # as DDP does: all start from the same numbers
    # The items of a ModuleList (a Transformer's blocks) are gathered one at a time: only one is ever whole.
    for module in reversed(list(model.modules())):
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block)
    fully_shard(model)
    sharded = dict(model.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [sharded[names[id(parameter)]] for parameter in group["params"]]


def rank_shares(batch: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Each rank's rows of a batch that all ranks hold; none for some where it has fewer rows than there are ranks."""
    size = distributed.size()
    return [tuple(tensor[rank::size] for tensor in batch) for rank in range(size)]


def reducing(forward: nn.Module, now: bool) -> AbstractContextManager[object]:
    """Around a forward and its backward: whether the gradients are averaged over the ranks, or still only summed."""
    if hasattr(forward, "set_requires_gradient_sync"):  # an FSDPModule
        forward.set_requires_gradient_sync(now)
    elif isinstance(forward, DistributedDataParallel) and not now:
        no_sync: AbstractContextManager[object] = forward.no_sync()
        return no_sync
    return nullcontext()


@contextmanager
def own_chance(settings: Settings, step: int) -> Iterator[None]:
    """Random numbers of this rank's own, for dropout; outside, all ranks draw the same, for data and augmentation."""
    if distributed.size() == 1:
        yield
        return
    devices = [settings.device] if settings.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed((1_000_003 * settings.seed + step) * distributed.size() + distributed.rank())
        yield


def average_statistics(model: nn.Module) -> None:
    """BatchNorm's running mean and variance, the one thing that ranks learn from their own rows alone."""
    if distributed.size() == 1:
        return
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    statistics = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
    if not statistics:
        return
    flat = torch.cat(statistics)
    dist.all_reduce(flat)
    flat /= distributed.size()
    for buffer, mean in zip(statistics, flat.split([len(buffer) for buffer in statistics]), strict=True):
        buffer.copy_(mean)
