"""What is in the image, and what the doctor says of it."""

from __future__ import annotations

import json

import pytest
from lab import Lab, run
from testcontainers.core.docker_client import DockerClient
from this_machine import ALL_GPUS

LARGEST_BYTES = 6.7e9
LABELS = ("title", "description", "licenses", "version", "revision")


def test_the_doctor_finds_nothing_to_mend(running: Lab) -> None:
    examined = running.run("workstation", "doctor", "--json")
    report = json.loads(examined.output)
    wrong = [finding for finding in report["findings"] if finding["status"] != "OK"]
    assert not wrong
    assert examined.code == 0


def test_the_doctor_fails_where_a_gpu_is_required_and_none_is_there(image: str) -> None:
    examined = run(image, "workstation", "doctor", "--require-gpu", environment={"NVIDIA_VISIBLE_DEVICES": "void"})
    assert examined.code == 1
    assert "FAIL" in examined.output


def test_the_doctor_warns_of_a_small_shm(image: str) -> None:
    report = json.loads(run(image, "workstation", "doctor", "--json").output)
    shm = next(finding for finding in report["findings"] if finding["check"] == "shared_memory")
    assert shm["status"] == "WARN"
    assert "--shm-size" in shm["remedy"]


def test_the_first_example_converges(running: Lab) -> None:
    ended = running.run("workstation", "examples", "run", "house_price", "--device", "cpu", "--json")
    assert ended.code == 0, ended.output
    assert abs(json.loads(ended.output)["metrics"]["price_of_1200"] - 240_000) < 2_400


def test_the_image_is_no_larger_than_promised(image: str) -> None:
    # Layer by layer: the size that containerd's store tells of an image is that of its layers as they are packed.
    assert sum(step["Size"] for step in DockerClient().client.images.get(image).history()) <= LARGEST_BYTES


def test_the_image_says_what_it_is(image: str) -> None:
    labels = DockerClient().client.images.get(image).labels
    assert all(labels.get(f"org.opencontainers.image.{name}") for name in LABELS)


def test_no_bytecode_is_written_at_run_time(image: str) -> None:
    """Every .pyc is there and valid for good (PEP 552, unchecked): as root, an import would write what is missing."""
    code = "import torch, sys, subprocess; subprocess.run(['find', '/opt/venv', '-newer', '/proc/1', '-name', '*.pyc'])"
    assert run(image, "python", "-c", code, user="0:0").output == ""


@pytest.mark.parametrize(
    ("environment", "options"), [({"OMP_NUM_THREADS": "1"}, {}), ({}, {"nano_cpus": 10**9})], ids=["chosen", "quota"]
)
def test_pytorch_starts_as_many_threads_as_it_was_told(
    image: str, environment: dict[str, str], options: dict[str, int]
) -> None:
    ran = run(image, "python", "-c", "import torch; print(torch.get_num_threads())", environment=environment, **options)
    assert ran.output == "1\n"


def test_torchrun_gives_a_worker_one_thread(image: str) -> None:
    program = "import torch; print('threads', torch.get_num_threads())"
    start = ("torchrun", "--standalone", "--nproc-per-node=2", "--no-python", "python", "-c", program)
    assert run(image, *start, shm_size="1g").output.count("threads 1\n") == 2


def test_chinese_labels_are_drawn_not_boxed(image: str) -> None:
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "import matplotlib; matplotlib.use('Agg')\n"
        "import matplotlib.pyplot as plt\n"
        "plt.title('损失 loss'); plt.savefig('/tmp/plot.png'); print('drawn')"
    )
    ended = run(image, "python", "-c", code)
    assert ended.output.strip() == "drawn", ended.output


def test_the_only_static_archives_are_those_that_a_compiler_links(image: str) -> None:
    found = run(image, "find", "/opt", "/usr", "-xdev", "-name", "*.a").output.split()
    assert any("libgcc" in path for path in found)
    assert [path for path in found if path.startswith("/opt") or "libpython" in path] == []


@pytest.mark.gpu
def test_the_gpu_is_visible_and_multiplies(image: str) -> None:
    code = "import torch; x = torch.randn(64, 64, device='cuda'); print((x @ x).isfinite().all().item())"
    assert run(image, "python", "-c", code, device_requests=ALL_GPUS).output.strip() == "True"


@pytest.mark.gpu
def test_the_first_example_converges_on_the_gpu(image: str) -> None:
    command = ("workstation", "examples", "run", "house_price", "--device", "cuda")
    assert run(image, *command, device_requests=ALL_GPUS).code == 0


@pytest.mark.gpu
def test_the_doctor_passes_with_a_gpu(image: str) -> None:
    ended = run(image, "workstation", "doctor", "--require-gpu", device_requests=ALL_GPUS, shm_size="1g")
    assert ended.code == 0, ended.output
