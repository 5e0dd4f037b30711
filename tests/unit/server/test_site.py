from __future__ import annotations

import socket
from pathlib import Path

import pytest

from workstation.errors import SettingError
from workstation.server.site import Site

HOME = Path("/home/workstation")


def site(**environ: str) -> Site:
    return Site.from_environment({"JUPYTER_TOKEN": "t0k", **environ}, HOME)


def test_the_link_is_ready_to_click() -> None:
    assert site().link() == "http://127.0.0.1:8888/lab?token=t0k"


def test_the_link_shows_the_port_that_is_published_not_the_one_inside() -> None:
    assert site(WORKSTATION_PUBLISHED_PORT="8889").link() == "http://127.0.0.1:8889/lab?token=t0k"


def test_the_link_follows_port_base_url_and_tls() -> None:
    settled = site(JUPYTER_PORT="9000", WORKSTATION_BASE_URL="/team/ada", WORKSTATION_TLS="self-signed")
    assert settled.link() == "https://127.0.0.1:9000/team/ada/lab?token=t0k"


def test_the_link_escapes_the_token() -> None:
    assert site(JUPYTER_TOKEN="a&b#c/d").link().endswith("?token=a%26b%23c%2Fd")


def test_a_secret_token_stays_out_of_the_log(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("hush")
    link = Site.from_environment({"JUPYTER_TOKEN_FILE": str(secret)}, HOME).link()
    assert "hush" not in link
    assert str(secret) in link


def test_the_token_never_reaches_a_command_line() -> None:
    assert not [word for word in site().jupyter_arguments() if "t0k" in word]
    assert site().environment() == {"JUPYTER_TOKEN": "t0k"}


def test_no_token_is_said_to_jupyter_outright() -> None:
    open_to_all = site(JUPYTER_TOKEN="", WORKSTATION_ALLOW_EMPTY_TOKEN="yes")
    assert "--IdentityProvider.token=" in open_to_all.jupyter_arguments()
    assert "?token" not in open_to_all.link()


@pytest.mark.parametrize("port", ["0", "65536", "-1", "80.5", "eight", " 8888", "٨٨", "0x50"])
def test_a_bad_port_is_refused(port: str) -> None:
    with pytest.raises(SettingError, match="from 1 to 65535"):
        site(JUPYTER_PORT=port)
    with pytest.raises(SettingError, match="WORKSTATION_PUBLISHED_PORT"):
        site(WORKSTATION_PUBLISHED_PORT=port)


@pytest.mark.parametrize("port", ["1", "443", "65535"])
def test_every_port_is_accepted(port: str) -> None:
    assert site(JUPYTER_PORT=port).port == int(port)


def test_a_kubernetes_service_called_jupyter_is_explained() -> None:
    with pytest.raises(SettingError, match="enableServiceLinks: false"):
        site(JUPYTER_PORT="tcp://10.0.0.1:8888")


@pytest.mark.parametrize(("given", "settled"), [("", "/"), ("/", "/"), ("lab", "/lab/"), ("/a/b/", "/a/b/")])
def test_a_base_url_begins_and_ends_with_a_slash(given: str, settled: str) -> None:
    assert site(WORKSTATION_BASE_URL=given).base_url == settled


@pytest.mark.parametrize("value", ["/a b", "/a?b", "/a//b", "/../etc", "http://host/", "/käse", "/{x}"])
def test_a_base_url_that_is_no_plain_path_is_refused(value: str) -> None:
    with pytest.raises(SettingError, match="not a path"):
        site(WORKSTATION_BASE_URL=value)


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SettingError, match=f"port {port} cannot be used: Address already in use"):
            site(JUPYTER_PORT=str(port)).make_ready()
    site(JUPYTER_PORT=str(port)).make_ready()  # and free again, it is taken without a word
