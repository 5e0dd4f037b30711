"""A process joins its job, or says in one line who or what is missing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from processes import free_port

from workstation.errors import DeviceError, SettingError
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


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RANK": "5"}, "RANK=5 is none of WORLD_SIZE=2 processes"),
        ({"RANK": "-1"}, "RANK=-1 is none of WORLD_SIZE=2 processes"),
        ({"WORLD_SIZE": "0"}, "RANK=0 is none of WORLD_SIZE=0 processes"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK=1 is none of LOCAL_WORLD_SIZE=1 processes"),
        ({"LOCAL_WORLD_SIZE": "two"}, "not a number"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT=99999 is no port"),
        *(
            (
                {"WORKSTATION_PEER_TIMEOUT": seconds},
                f"WORKSTATION_PEER_TIMEOUT={seconds} is no number of seconds above 0",
            )
            for seconds in ("inf", "nan", "-1", "0", "a minute", "1e300")
        ),
    ],
    ids=str,
)
def test_a_variable_that_cannot_be_is_named(job: Any, variables: dict[str, str], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        job(**variables)


@pytest.mark.parametrize(("chosen", "threads"), [(None, [2]), ("8", [])], ids=["shared", "chosen"])
def test_processes_share_a_machines_cores_unless_their_threads_were_chosen(
    job: Any, monkeypatch: pytest.MonkeyPatch, chosen: str | None, threads: list[int]
) -> None:
    told: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    with pytest.raises(PeerError):
        job(LOCAL_WORLD_SIZE="4")
    assert told == threads


def test_each_process_has_a_gpu_of_its_own_or_says_that_it_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """What NCCL is given; that it then works, only GPUs can show."""
    asked: dict[str, Any] = {}
    chosen: list[int] = []
    monkeypatch.setattr(distributed, "choose", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(distributed, "_meet", lambda _: None)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **how: asked.update(how, backend=backend))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    four = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "3", "MASTER_PORT": "1"}
    for name, value in (JOB | four | {"RANK": "3", "LOCAL_RANK": "1"}).items():
        monkeypatch.setenv(name, value)
    with distributed.joined("cuda") as device:
        assert device == torch.device("cuda", 1)
    assert chosen == [1]
    assert asked["backend"] == "cpu:gloo,cuda:nccl"
    assert asked["device_id"] == device
    monkeypatch.setenv("LOCAL_RANK", "2")
    refused = pytest.raises(DeviceError, match="process 3 of this machine has no GPU of its own: there are 2")
    with refused, distributed.joined("cuda"):
        raise AssertionError("there is none for it")
