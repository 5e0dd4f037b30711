"""The article's distributed sample: with DDP one model, without it two."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest
import torch
from processes import together
from torch.utils.data import DistributedSampler

from workstation.examples import distributed
from workstation.examples.distributed import Result, article_loop, as_rank, plane, train, written_out
from workstation.training.settings import Settings


@pytest.mark.slow
def test_two_processes_with_ddp_end_with_one_model(settings: Settings) -> None:
    result = distributed.run(settings)
    assert result.holds(), result


def test_without_the_wrapping_the_promise_is_broken() -> None:
    assert all(max(apart) > 0.01 for apart in together(2, drift))
    assert not Result(processes=2, apart_without=0.7, apart_with=0.7, losses_off=0.0).holds()


def drift() -> list[float]:
    return article_loop(0, wrap=False)


def test_under_torchrun_the_ranks_that_are_there_compare_themselves() -> None:
    results = together(3, distributed.run, Settings())
    assert results[0].processes == 3
    assert results[0].holds(), results
    assert results[1] == results[2] == results[0]


def test_the_same_seed_gives_the_same_bits() -> None:
    assert together(2, as_rank, 1)[0] == together(2, as_rank, 1)[1]


def test_our_loop_alone_is_the_loop_written_out() -> None:
    assert train(Settings(seed=3)) == pytest.approx(written_out(3), abs=1e-7)


def test_it_learns_the_plane_down_to_its_noise() -> None:
    assert written_out(0)[-1] < 0.012  # the noise's variance is 0.01
    assert plane(0)[1].var() > 0.5


def test_a_sampler_that_is_not_told_the_epoch_repeats_its_order_and_a_short_one_repeats_a_row() -> None:
    def order(sampler: DistributedSampler, epoch: int | None = None) -> list[int]:
        if epoch is not None:
            sampler.set_epoch(epoch)
        return list(sampler)

    sampler = DistributedSampler(range(64), num_replicas=2, rank=0)
    assert order(sampler) == order(sampler)
    assert order(sampler, 0) != order(sampler, 1)
    five = [list(DistributedSampler(range(5), num_replicas=2, rank=rank, shuffle=False)) for rank in (0, 1)]
    assert five == [[0, 2, 4], [1, 3, 0]], "row 0 counts twice; fit gives each row to one rank, whatever is left over"


def test_the_articles_set_up_alone_asks_for_a_rank() -> None:
    """init_method="env://", as in the article, in a process that nobody told who it is."""
    program = "import torch.distributed as dist; dist.init_process_group('gloo', init_method='env://')"
    bare = {name: value for name, value in os.environ.items() if name not in ("RANK", "MASTER_ADDR")}
    ran = subprocess.run([sys.executable, "-c", program], env=bare, capture_output=True, text=True, timeout=60)
    assert "environment variable RANK expected, but not set" in ran.stderr


def test_each_rank_has_the_whole_model_and_half_of_the_rows() -> None:
    for parameters, rows in together(2, holdings):
        assert parameters == 121  # 10·10 + 10 + 10 + 1
        assert rows == 128


def holdings() -> tuple[int, int]:
    replica = torch.nn.parallel.DistributedDataParallel(distributed.article_model())
    return sum(parameter.numel() for parameter in replica.parameters()), len(DistributedSampler(range(256)))


def test_a_result_of_one_process_is_no_proof() -> None:
    good = Result(processes=2, apart_without=0.7, apart_with=0.0, losses_off=0.0)
    assert good.holds()
    assert not dataclasses.replace(good, processes=1).holds()
