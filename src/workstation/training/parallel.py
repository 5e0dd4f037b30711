"""One model trained by many processes, each on its own rows, as if by one on all of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.nn.functional import all_gather
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from workstation.training import distributed
from workstation.training.settings import Settings


@contextmanager
def parallel(model: nn.Module, optimizer: Optimizer, settings: Settings) -> Iterator[tuple[nn.Module, nn.Module]]:
    """What to train in place of `model`, and what to call: each backward leaves the mean of the ranks' gradients.

    DDP keeps a whole replica on every rank. With `settings.shard` a copy of the model is trained, of which each rank
    has a part; afterwards `model` has what it learnt, whole. One that `shard` was given before stays in parts.
    """
    if not dist.is_initialized() or _in_parts(model):
        yield model, model
    elif settings.shard:
        # Not in place: a model in parts can be called, but not read, copied or cut up, as a chapter goes on to do.
        twin = copy.deepcopy(model)
        shard(twin)
        _point(optimizer, model, twin)
        yield twin, twin
        model.load_state_dict(get_model_state_dict(twin, options=StateDictOptions(full_state_dict=True)))
        _point(optimizer, twin, model)
    else:
        # Its statistics are averaged below; broadcasting rank 0's would throw away what the others saw.
        yield (
            model,
            DistributedDataParallel(
                model,
                device_ids=[settings.device.index] if settings.device.type == "cuda" else None,
                forward_sync_buffers=False,
                gradient_as_bucket_view=True,  # no second copy of every gradient
            ),
        )


def shard(model: nn.Module, *, half: bool = False) -> None:
    """FSDP2: each rank keeps a part of each parameter. In place and for good, for what may fit on no rank whole.

    `half`: bfloat16 is gathered and computed with, half the traffic, and gradients are added up in float32. That is
    more of bfloat16 than autocast's: norms, and what runs from layer to layer, too.
    """
    if not dist.is_initialized():
        return
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard  # half a second, for those who ask for it

    # Unless told, it takes the machine's GPUs, for a model on the CPU too.
    mesh = init_device_mesh(next(model.parameters()).device.type, (distributed.size(),))
    # What comes to a block is bfloat16 by itself; a cast would round the tables of rotary angles as well.
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    precision = policy if half else MixedPrecisionPolicy()

    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.data, src=0)  # as DDP does: all start from the same numbers
    # The items of a ModuleList (a Transformer's blocks) are gathered one at a time: only one is ever whole.
    for module in reversed(list(model.modules())):
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mesh=mesh, mp_policy=precision)
        elif isinstance(module, nn.RNNBase):
            # Else cuDNN moves its weights together, away from where FSDP2 gathers them, and keeps the first for ever.
            module.flatten_parameters = lambda: None
    fully_shard(model, mesh=mesh, mp_policy=precision)


def _in_parts(model: nn.Module) -> bool:
    return hasattr(model, "set_requires_gradient_sync")  # an FSDPModule, whose import takes half a second


def _point(optimizer: Optimizer, old: nn.Module, new: nn.Module) -> None:
    """Let it train in `new` what it trained in `old`."""
    names = {id(parameter): name for name, parameter in old.named_parameters()}
    parameters = dict(new.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [parameters[names[id(parameter)]] for parameter in group["params"]]


def rank_shares(batch: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Each rank's rows of a batch that all ranks hold; none for some where it has fewer rows than there are ranks."""
    size = distributed.size()
    return [tuple(tensor[rank::size] for tensor in batch) for rank in range(size)]


def all_rows(mine: Tensor) -> Tensor:
    """What all ranks have of their shares of a batch, in its order, on each of them: for a loss that compares rows.

    (share, …) to (rows, …). Gradients go back to whose rows they are: as every rank's loss is then the whole batch's,
    so is the gradient. A rank must have a share, as it has of every batch of at least as many rows as there are ranks.
    """
    size = distributed.size()
    if size == 1:
        return mine
    rows = torch.tensor(len(mine))
    dist.all_reduce(rows)
    missing = -(-int(rows) // size) - len(mine)  # shares differ by one row at most
    padded = torch.cat([mine, mine.new_zeros(missing, *mine.shape[1:])])
    return torch.stack(all_gather(padded), dim=1).flatten(0, 1)[: int(rows)]


def clear_gradients(optimizer: Optimizer, forward: nn.Module) -> None:
    """Before a step. DDP's are views of what it sends: new ones would lie beside it until the last micro-batch."""
    optimizer.zero_grad(set_to_none=not isinstance(forward, DistributedDataParallel))


def reducing(forward: nn.Module, now: bool) -> AbstractContextManager[object]:
    """Around a forward and its backward: whether the gradients are averaged over the ranks, or still only summed.

    Of a model in parts they always are: summed on each rank they would be there whole, what it is in parts to avoid.
    """
    if isinstance(forward, DistributedDataParallel) and not now:
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
