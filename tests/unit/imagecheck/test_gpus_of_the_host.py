"""Which GPUs an image is given, and what is said where the host cannot give them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from docker.errors import APIError
from recorded import image

from imagecheck import suite
from imagecheck.bench import LiveBench
from imagecheck.checks import stack
from imagecheck.engine import gpus, lab
from imagecheck.engine.connection import is_local
from imagecheck.outcome import Outcome, Result
from imagecheck.registry import Check
from imagecheck.settings import Gpu, Settings
from imagecheck.suite import judge_check

SOCKET, SSH, TCP = "http+docker://localhost", "http+docker://ssh", "http://gpu-host:2375"  # as docker-py shows them
RUNTIME = {"Runtimes": {"nvidia": {}}}


def engine(base_url: str = SOCKET, *, name: str = "Engine", info: Mapping[str, object] | None = None) -> MagicMock:
    client = MagicMock()
    client.api.base_url = base_url
    client.version.return_value = {"Components": [{"Name": name}]}
    client.info.return_value = info or {}
    return client


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's root, empty so far."""
    monkeypatch.setattr(gpus, "DRIVER_GPUS", tmp_path / "proc")
    monkeypatch.setattr(gpus, "WSL2_DRIVER", tmp_path / "libcuda.so.1")
    return tmp_path


def with_gpus(host: Path) -> None:
    for number in range(2):
        (host / "proc" / f"0000:0{number}:00.0").mkdir(parents=True)


def test_this_machines_gpus_are_counted(host: Path) -> None:
    assert gpus.count(engine()) == 0
    with_gpus(host)
    assert gpus.count(engine()) == 2


def test_wsl2_has_a_gpu_though_its_kernel_shows_none(host: Path) -> None:
    (host / "libcuda.so.1").touch()
    assert gpus.count(engine()) == 1


@pytest.mark.parametrize(("base_url", "local"), [(SOCKET, True), (SSH, False), (TCP, False)])
def test_an_engine_behind_ssh_is_not_this_machine(host: Path, base_url: str, local: bool) -> None:
    with_gpus(host)
    assert is_local(engine(base_url)) is local
    assert gpus.count(engine(base_url, info=RUNTIME)) == (2 if local else 1)


def test_podman_is_asked_for_no_gpu_because_it_would_not_say_that_it_gives_none(host: Path) -> None:
    with_gpus(host)
    assert gpus.count(engine(name="Podman Engine")) == 0


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("settings", "expected"),
    [(Settings(), 0), (Settings(gpus=2), 2), (Settings(gpus=0), 0), (Settings(gpus=2, gpu=Gpu.OFF), 0)],
)
def test_gpus_that_are_expected_are_given_though_none_is_counted(
    settings: Settings, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = MagicMock()
    monkeypatch.setattr(suite, "Lab", started)
    with suite.open_bench(engine(), image(), settings) as bench:
        assert bench.host_gpus == expected
    assert started.call_args.kwargs["gpus"] is (expected > 0)


def judged_where_no_container_starts(told: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    spec = MagicMock()
    spec.return_value.start.side_effect = APIError("500 Server Error", explanation=told)
    monkeypatch.setattr(lab, "DockerContainer", spec)
    monkeypatch.setattr(lab.probe_volume, "make_volume", MagicMock())
    monkeypatch.setattr(LiveBench, "contents", MagicMock(visible={}))
    with lab.Lab(engine(), image(), shm_size=0, gpus=True, keep=False) as started:
        bench = LiveBench(started, Settings(), 1)
        return judge_check(Check("stack.imports", "", stack.imports), bench, required=False)


@pytest.mark.parametrize(
    "told",
    [
        'could not select device driver "" with capabilities: [[gpu]]',
        "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0, please update your driver",
        "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all",
    ],
)
def test_a_host_that_cannot_give_its_gpus_is_not_an_image_without_torch(
    told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = judged_where_no_container_starts(told, monkeypatch)
    assert result.outcome is Outcome.ERROR
    assert "--gpu off" in result.remedy


def test_a_file_that_is_no_interpreter_is_no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    result = judged_where_no_container_starts("exec /usr/bin/python: exec format error", monkeypatch)
    assert result.outcome is Outcome.FAIL
    assert "install torch" in result.remedy
