"""A process joins its job, or says in one line who or what is missing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from processes import free_port

from workstation.errors import SettingError
from workstation.training import distributed
from workstation.training.distributed import PeerError, Place

JOB = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Any:
    def join(**variables: str) -> None:
        chosen = JOB | {"MASTER_PORT": str(free_port()), "WORKSTATION_PEER_TIMEOUT": "1"} | variables
        for name, value in chosen.items():
            monkeypatch.setenv(name, value)
        with distributed.joined("cpu"):
            raise AssertionError("it cannot have joined")

    return join


def test_no_variables_mean_one_process_and_half_of_them_an_error_that_names_torchrun() -> None:
    assert Place.from_environment({"HOME": "/"}) is None
    with pytest.raises(SettingError, match=r"^RANK, MASTER_PORT not set.*torchrun --standalone --nproc-per-node 2"):
        Place.from_environment({name: value for name, value in JOB.items() if name != "RANK"})


def test_the_rank_that_does_not_come_is_named(job: Any) -> None:
    with pytest.raises(PeerError, match=r"of 3 processes, rank 1, 2 did not come to 127\.0\.0\.1:"):
        job(WORLD_SIZE="3")


def test_a_meeting_place_that_does_not_answer_is_named(job: Any) -> None:
    port = free_port()
    with pytest.raises(PeerError, match=f"rank 1 cannot reach 127.0.0.1:{port}"):
        job(RANK="1", MASTER_PORT=str(port))


def test_ranks_that_were_told_different_sizes_are_named(job: Any) -> None:
    port = free_port()
    store = torch.distributed.TCPStore("127.0.0.1", port, 2, is_master=True, wait_for_workers=False)
    store.set("here/0", "3")
    with pytest.raises(PeerError, match="rank 0 was told WORLD_SIZE=3, rank 1 2"):
        job(RANK="1", MASTER_PORT=str(port))
