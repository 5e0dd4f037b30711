from __future__ import annotations

from pathlib import Path

import pytest

from workstation.errors import SettingError
from workstation.server.settings import NAMES, Settings

PAGE = Path(__file__).parents[3] / "docs" / "server.md"
HUB = {"JUPYTERHUB_API_TOKEN": "t", "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8888/user/ada/"}


def settings(*argv: str, **environ: str) -> Settings:
    return Settings.from_environment({"HOME": "/home/workstation", **environ}, argv)


def test_nothing_has_to_be_set() -> None:
    made = settings()
    assert made.program == "jupyter-lab"
    assert made.site is not None
    assert (made.site.port, made.site.base_url, made.site.certificate) == (8888, "/", None)


def test_arguments_go_to_jupyter_after_ours() -> None:
    assert settings("--debug", "--ServerApp.ip=127.0.0.1").program_arguments()[-2:] == [
        "--debug",
        "--ServerApp.ip=127.0.0.1",
    ]


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [
        ("WORKSTATION_TSL", "WORKSTATION_TLS"),
        ("WORKSTATION_BASEURL", "WORKSTATION_BASE_URL"),
        ("WORKSTATION_PORT", "JUPYTER_PORT"),
        ("WORKSTATION_TOKEN", "JUPYTER_TOKEN"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_known_one(unknown: str, meant: str) -> None:
    with pytest.raises(SettingError, match=rf"{unknown} is not a setting. Did you mean {meant}\?"):
        settings(**{unknown: "1"})


def test_every_known_setting_may_be_empty_but_the_token() -> None:
    made = settings(**{name: "" for name in NAMES if name != "JUPYTER_TOKEN"})
    assert made.site is not None
    assert made.site.token.value


def test_kubernetes_own_variables_for_a_service_called_workstation_are_not_settings() -> None:
    links = {
        "WORKSTATION_SERVICE_HOST": "10.0.0.1",
        "WORKSTATION_SERVICE_PORT": "8888",
        "WORKSTATION_SERVICE_PORT_HTTP": "8888",
        "WORKSTATION_PORT": "tcp://10.0.0.1:8888",
        "WORKSTATION_PORT_8888_TCP": "tcp://10.0.0.1:8888",
        "WORKSTATION_PORT_8888_TCP_ADDR": "10.0.0.1",
    }
    settings(KUBERNETES_SERVICE_HOST="10.0.0.2", **links)
    with pytest.raises(SettingError, match="WORKSTATION_"):
        settings(**links)  # outside Kubernetes, a person wrote them


@pytest.mark.parametrize(
    ("argument", "setting"),
    [
        ("--port=9000", "JUPYTER_PORT"),
        ("--ServerApp.port=9000", "JUPYTER_PORT"),
        ("--ServerApp.base_url=/x", "WORKSTATION_BASE_URL"),
        ("--IdentityProvider.token=x", "JUPYTER_TOKEN"),
        ("--NotebookApp.token=", "JUPYTER_TOKEN"),
        ("--certfile=/c.pem", "WORKSTATION_TLS_CERTIFICATE"),
        ("--keyfile", "WORKSTATION_TLS_KEY"),
    ],
)
def test_an_option_that_contradicts_a_setting_is_refused(argument: str, setting: str) -> None:
    with pytest.raises(SettingError, match=f"Set {setting} in the environment instead"):
        settings(argument)


def test_a_hub_says_where_its_single_user_server_answers() -> None:
    made = settings("--debug", JUPYTER_PORT="not even a port", JUPYTER_TOKEN="", **HUB)
    assert made.site is None
    assert (made.program, made.program_arguments()) == ("jupyterhub-singleuser", ["--debug"])


def test_half_of_the_hubs_variables_do_not_make_a_hub() -> None:
    assert settings(JUPYTERHUB_API_TOKEN="t").program == "jupyter-lab"


def test_every_setting_has_its_row_in_the_page() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert sorted(row.split("`")[1] for row in rows) == sorted(NAMES)
