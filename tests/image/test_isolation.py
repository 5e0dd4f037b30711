"""The image works as whoever it is run as, and with as little as it is given."""

from __future__ import annotations

import pytest
from lab import Lab, lab, run

HOME_AND_SCRATCH = {"/tmp": "exec,mode=1777", "/home/workstation": "mode=1777", "/cache": "exec,mode=1777"}
NOTHING_ALLOWED = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
COMPILE = """
import torch
from torch._dynamo.testing import CompileCounterWithBackend
counter = CompileCounterWithBackend("inductor")
model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))
compiled = torch.compile(model, backend=counter, fullgraph=True)
batch = torch.randn(16, 8)
loss = compiled(batch).square().mean()
loss.backward()
torch.testing.assert_close(loss, model(batch).square().mean())
print("compiled", counter.frame_count)
"""


@pytest.mark.parametrize("user", ["1000:0", "12345:0", "12345:54321", "0:0"])
def test_any_user_gets_a_lab(image: str, user: str) -> None:
    with lab(image, user=user) as started:
        assert started.get("api/contents/notebooks").json()["content"], "the notebooks are laid out"
        assert started.run("id", "-u").output.strip() == user.partition(":")[0]


def test_the_default_user_is_not_root(running: Lab) -> None:
    assert running.run("id", "-u").output.strip() == "1000"


def test_read_only_root_no_capabilities_no_network(image: str) -> None:
    with lab(
        image, user="12345:0", tmpfs=HOME_AND_SCRATCH, network_mode="none", ready=False, **NOTHING_ALLOWED
    ) as started:
        started.wait_until(started.is_healthy, "healthy with nothing allowed")


def test_torch_compile_as_an_unmapped_user_on_a_read_only_root(image: str) -> None:
    ended = run(
        image, "python", "-c", COMPILE, user="12345:0", tmpfs=HOME_AND_SCRATCH, network_mode="none", **NOTHING_ALLOWED
    )
    assert ended.code == 0, ended.output
    assert "compiled 1" in ended.output


def test_torch_compile_with_only_tmp_to_write(image: str) -> None:
    """No cache volume and nothing but /tmp: the kernels go there."""
    ended = run(image, "python", "-c", COMPILE, user="12345:54321", tmpfs={"/tmp": "exec,mode=1777"}, **NOTHING_ALLOWED)
    assert ended.code == 0, ended.output
    assert "compiled 1" in ended.output


def test_a_plain_command_prints_nothing_of_ours(image: str) -> None:
    assert run(image, "echo", "hello").output == "hello\n"


WHEEL = "/tmp/mine-1.0-py3-none-any.whl"
MAKE_WHEEL = f"""
import zipfile
with zipfile.ZipFile("{WHEEL}", "w") as file:
    file.writestr("mine.py", "ANSWER = 42\\n")
    file.writestr("mine-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: mine\\nVersion: 1.0\\n")
    file.writestr("mine-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    file.writestr("mine-1.0.dist-info/RECORD", "")
"""  # made on the spot: no index is asked


def test_a_users_own_pip_install_works_and_stays_in_the_home(image: str, volume: str) -> None:
    as_someone = {"user": "12345:54321", "volumes": {volume: {"bind": "/home/workstation", "mode": "rw"}}}
    install = f"python -c '{MAKE_WHEEL}' && pip install --no-index {WHEEL}"
    installed = run(image, "bash", "-c", install, **as_someone)
    assert installed.code == 0, installed.output
    assert run(image, "python", "-c", "import mine; print(mine.ANSWER)", **as_someone).output == "42\n"


def test_a_venv_of_ones_own_takes_installs(image: str) -> None:
    install = f"python -c '{MAKE_WHEEL}' && python -m venv /tmp/own && /tmp/own/bin/pip install --no-index {WHEEL}"
    installed = run(image, "bash", "-c", f"{install} && /tmp/own/bin/python -c 'import mine'")
    assert installed.code == 0, installed.output


def test_pip_list_shows_what_the_image_brings(image: str) -> None:
    assert "torchvision" in run(image, "pip", "list").output


def test_pip_does_not_bring_a_second_torch(image: str) -> None:
    refused = run(image, "pip", "install", "--no-index", "torch==2.0.0")
    assert refused.code != 0
    assert "constraint" in refused.output
