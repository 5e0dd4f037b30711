"""The server answers those who have the token, and only those; a kernel runs the whole stack."""

from __future__ import annotations

import json

from lab import TOKEN, Lab, lab, run

IMPORTS = """
import torch, torchvision, torchaudio
print(torch.__version__, torchvision.__version__, torchaudio.__version__, torch.backends.cudnn.version())
"""


def test_a_kernel_runs_the_whole_trio(running: Lab) -> None:
    torch, torchvision, torchaudio, cudnn = running.run_code(IMPORTS).split()
    assert {version.partition("+")[2] for version in (torch, torchvision, torchaudio)} == {"cu130"}
    assert int(cudnn) >= 90000


def test_two_starts_never_share_a_token(image: str) -> None:
    printed = []
    for _ in range(2):
        with lab(image, environment={"JUPYTER_TOKEN": None}, ready=False) as own:
            own.wait_until(lambda own=own: b"?token=" in own.container.logs(), "the link is printed")
            printed.append(own.container.logs().decode().partition("?token=")[2].split()[0])
    first, second = printed
    assert first != second
    assert len(first) >= 48


def test_the_token_is_not_in_ps(running: Lab) -> None:
    processes = running.run("ps", "-eo", "args").output
    assert "jupyter" in processes
    assert TOKEN not in processes


def test_the_access_log_does_not_hold_the_token(running: Lab) -> None:
    running.get(f"api/contents/missing?token={TOKEN}", token=None)
    after_link = running.container.logs().decode().partition("?token=")[2].partition("\n")[2]
    assert TOKEN not in after_link


def test_an_empty_token_is_refused_unless_said_out_loud(image: str) -> None:
    refused = run(image, environment={"JUPYTER_TOKEN": ""})
    assert refused.code == 2
    assert "JUPYTER_TOKEN" in refused.output
    assert "WORKSTATION_ALLOW_EMPTY_TOKEN" in refused.output
    open_door = {"JUPYTER_TOKEN": "", "WORKSTATION_ALLOW_EMPTY_TOKEN": "yes"}
    with lab(image, environment=open_door) as without:
        assert without.get("lab", token=None).status_code == 200


def test_the_healthcheck_turns_healthy(running: Lab) -> None:
    running.wait_until(running.is_healthy, "Docker calls it healthy")


def test_port_base_url_and_arguments_are_followed_by_the_healthcheck(image: str) -> None:
    with lab(
        image,
        "--ServerApp.websocket_ping_interval=20000",
        environment={"JUPYTER_PORT": "9999", "WORKSTATION_BASE_URL": "/user/someone/"},
        port=9999,
        base_url="/user/someone/",
    ) as moved:
        assert moved.get("lab").status_code == 200
        assert "--ServerApp.websocket_ping_interval=20000" in moved.run("ps", "-eo", "args").output
        moved.wait_until(moved.is_healthy, "healthy behind another port and base URL")


def test_tensorboard_is_served_on_the_labs_own_port(running: Lab) -> None:
    written = running.run_code(
        "from pathlib import Path\n"
        "from torch.utils.tensorboard import SummaryWriter\n"
        "writer = SummaryWriter(Path.home() / 'runs' / 'from-a-test')\n"
        "writer.add_scalar('loss', 0.5, 1); writer.close(); print('written')",
    )
    assert "written" in written
    assert "TensorBoard" in running.get("tensorboard/").text
    runs = "tensorboard/data/runs"
    running.wait_until(lambda: "from-a-test" in running.get(runs).text, "TensorBoard shows the run")


def test_tensorboard_has_a_launcher_tile(running: Lab) -> None:
    tiles = running.get("server-proxy/servers-info").json()["server_processes"]
    tile = next(tile["launcher_entry"] for tile in tiles if tile["name"] == "tensorboard")
    assert (tile["title"], tile["enabled"]) == ("TensorBoard", True)


def test_the_interface_speaks_chinese(running: Lab) -> None:
    assert "zh_CN" in json.dumps(running.get("lab/api/translations").json())
