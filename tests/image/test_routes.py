"""Who may use which route: the token's owner all, a stranger those that give nothing away, another site none."""

from __future__ import annotations

import re

import pytest
import requests
import websocket
from lab import TOKEN, Lab
from routes import served

SOMEBODY = "00000000-0000-0000-0000-000000000000"
DEADLINE_S = 10  # a route that never answers a stranger lets him hold connections
# One address for each route that asks for the token.
GUARDED = [
    "lsp/status",
    "api/metrics/v1",
    f"api/metrics/v1/kernel_usage/get_usage/{SOMEBODY}",
    "tensorboard/",
    "tensorboard",
    "proxy/example.com:80/",
    "proxy/absolute/example.com:80/",
    "proxy/8888/",
    "proxy/absolute/8888/",
    "server-proxy/servers-info",
    "api/terminals",
    "api/terminals/1",
    "lab/api/build",
    "lab/api/extensions",
    "lab/api/plugins",
    "lab/api/update",
    "lab/api/news",
    "lab",
    "lab/tree/notebooks",
    "lab/workspaces/mine",
    "lab/api/settings/",
    "lab/api/settings/@jupyterlab/apputils-extension:themes",
    "lab/api/translations/",
    "lab/api/translations/zh_CN",
    "lab/api/workspaces/",
    "lab/api/workspaces/mine",
    "lab/api/listings/@jupyterlab/extensionmanager-extension/listings.json",
    "lab/api/licenses/",
    "api/spec.yaml",
    "api/status",
    "api/me",
    "api/resolvePath",
    "api/config/notebook",
    "api/contents/notebooks/checkpoints",
    f"api/contents/notebooks/checkpoints/{SOMEBODY}",
    "api/contents/notebooks/trust",
    "api/contents/notebooks",
    "api/contents",
    "api/kernels",
    f"api/kernels/{SOMEBODY}",
    f"api/kernels/{SOMEBODY}/restart",
    "kernelspecs/python3/logo-64x64.png",
    "api/kernelspecs",
    "api/kernelspecs/python3",
    "nbconvert/html",
    "nbconvert/html/notebooks/01_house_price.ipynb",
    "api/nbconvert",
    f"api/sessions/{SOMEBODY}",
    "api/sessions",
    "api/shutdown",
    "view/notebooks/01_house_price.ipynb",
    "api/events",
    "files/notebooks/01_house_price.ipynb",
    "metrics",
]
WEBSOCKETS = [
    "lsp/ws/pylsp",
    "terminals/websocket/1",
    f"api/kernels/{SOMEBODY}/channels",
    "api/events/subscribe",
]
PUBLIC = {
    r"/static/.*|/lab/extensions/.*|/lab/api/themes/.*|/server-proxy/icon/.*": "Jupyter's own files",
    r"/\(?(robots|favicon).*": "the same everywhere",
    r"/login.*|/logout.*": "how one comes in and goes out",
    r"/api\$": "the server's version: the health check's route",
    r"/api/security/csp-report\$": "a browser's report; nothing is kept",
    r"/api/notebooks/.*|/lab/\.\*\$|/\.\*/\$|/\$": "a redirect, or nothing found",
}


@pytest.fixture(scope="module")
def routes(running: Lab) -> dict[str, list[str]]:
    return served(running)


def test_every_route_is_tried_or_known_to_give_nothing_away(routes: dict[str, list[str]]) -> None:
    untried = [
        pattern
        for pattern in routes
        if not any(re.fullmatch(pattern, f"/{path}") for path in GUARDED + WEBSOCKETS)
        and not any(re.fullmatch(public, pattern) for public in PUBLIC)
    ]
    assert untried == []


@pytest.mark.parametrize("token", [None, "wrong"])
def test_token_is_enforced_on_every_route(running: Lab, routes: dict[str, list[str]], token: str | None) -> None:
    headers = {"Authorization": f"token {token}"} if token else {}
    for path in GUARDED:
        for verb in next(verbs for pattern, verbs in routes.items() if re.fullmatch(pattern, f"/{path}")):
            refused = requests.request(
                verb, running.url(path), headers=headers, timeout=DEADLINE_S, allow_redirects=False
            )
            to_login = refused.status_code == 302 and "/login" in refused.headers["Location"]
            assert refused.status_code in (401, 403) or to_login, (verb, path, refused.status_code)


def test_the_token_opens_what_it_guards(running: Lab) -> None:
    for path in ("lab", "api/contents/notebooks", "lab/api/licenses/", "tensorboard/", "api/kernelspecs", "metrics"):
        assert running.get(path).status_code == 200, path


@pytest.fixture
def browser(running: Lab) -> requests.Session:
    """Logged in, as by the printed link: it has the cookie, and _xsrf."""
    session = requests.Session()
    assert session.get(running.url(f"lab?token={TOKEN}"), timeout=60).status_code == 200
    assert "_xsrf" in session.cookies
    return session


def post(running: Lab, browser: requests.Session, *, origin: str, xsrf: bool) -> int:
    headers = {"Origin": origin} | ({"X-XSRFToken": browser.cookies["_xsrf"]} if xsrf else {})
    return browser.post(running.url("api/kernels"), headers=headers, timeout=60).status_code


def test_a_page_of_another_site_starts_nothing_even_with_the_form_secret(
    running: Lab, browser: requests.Session
) -> None:
    assert post(running, browser, origin=running.url("").rstrip("/"), xsrf=True) == 201
    assert post(running, browser, origin="https://example.com", xsrf=True) in (403, 404)


def test_a_form_without_the_secret_starts_nothing_even_from_the_own_site(
    running: Lab, browser: requests.Session
) -> None:
    assert post(running, browser, origin=running.url("").rstrip("/"), xsrf=False) == 403


def opened(running: Lab, path: str, **options: object) -> int:
    """The status that a websocket's handshake is answered with; 101 for one that opens."""
    try:
        websocket.create_connection(running.url(path, scheme="ws"), timeout=DEADLINE_S, **options).close()
    except websocket.WebSocketBadStatusException as refused:
        return int(refused.status_code)
    return 101


@pytest.fixture
def channels(running: Lab) -> list[str]:
    """A websocket of each kind that lets somebody in act: a kernel's, a terminal's, the events'."""
    headers = {"Authorization": f"token {TOKEN}"}
    kernel = requests.post(running.url("api/kernels"), headers=headers, timeout=60).json()["id"]
    terminal = requests.post(running.url("api/terminals"), headers=headers, timeout=60).json()["name"]
    return [f"api/kernels/{kernel}/channels", f"terminals/websocket/{terminal}", "api/events/subscribe"]


def test_token_is_enforced_on_every_websocket(running: Lab, channels: list[str]) -> None:
    for path in [*channels, *WEBSOCKETS]:
        assert opened(running, path) in (401, 403), path
    for path in channels:
        assert opened(running, path, header=[f"Authorization: token {TOKEN}"]) == 101, path


def test_a_page_of_another_site_opens_no_websocket_with_the_browsers_cookie(
    running: Lab, browser: requests.Session, channels: list[str]
) -> None:
    cookie = "; ".join(f"{each.name}={each.value}" for each in browser.cookies)
    for path in channels:
        assert opened(running, path, cookie=cookie, origin="https://example.com") in (403, 404), path
        assert opened(running, path, cookie=cookie, origin=running.url("").rstrip("/")) == 101, path


@pytest.mark.parametrize("route", ["api/contents/", "files/", "view/", "nbconvert/html/"])
@pytest.mark.parametrize("out", ["../../etc/passwd", "..%2F..%2Fetc%2Fpasswd", "%2e%2e/%2e%2e/etc/passwd"])
def test_no_path_leads_out_of_the_home(running: Lab, route: str, out: str) -> None:
    prepared = requests.Request("GET", running.url(""), headers={"Authorization": f"token {TOKEN}"}).prepare()
    prepared.url = running.url(route + out)  # as it is: requests would fold the dots
    answer = requests.Session().send(prepared, timeout=DEADLINE_S, allow_redirects=False)
    assert answer.status_code in (400, 403, 404), answer.status_code
    assert "root:" not in answer.text
