"""Who may send how much, and who is sent away before a handler sees him.

Tornado reads a body into memory before any handler asks for the token: without this, six uploads of 400 MiB by somebody
who has none end a Lab of 2 GiB.
"""

from __future__ import annotations

from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, PathMatches, Rule
from tornado.web import RequestHandler, stream_request_body

KIB, MIB = 2**10, 2**20
OF_A_STRANGER = 64 * KIB  # the login form fits many times over


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    most = server.max_body_size
    too_large = f"larger than {most // MIB} MiB: upload a file in chunks, as JupyterLab does"
    long = FromAStranger(server, LargerThan(OF_A_STRANGER, unsaid=True))
    # jupyterlab_server's handler means to refuse, but fails in the middle of it: the connection then stays open.
    licences = FromAStranger(server, PathMatches(f"{server.base_url}lab/api/licenses/.*"))
    server.web_app.default_router.rules[:0] = [
        Rule(long, Refusal, {"status": 403, "message": "a token is needed to send this much"}),
        Rule(licences, Refusal, {"status": 403, "message": "a token is needed"}),
        Rule(LargerThan(most), Refusal, {"status": 413, "message": too_large}),
    ]


class LargerThan(Matcher):
    """Requests whose body is longer than `limit` bytes, or, if so asked, does not say how long it is."""

    def __init__(self, limit: int, *, unsaid: bool = False) -> None:
        self._limit, self._unsaid = limit, unsaid

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """{} for a match, None for none: what tornado.routing asks for."""
        length = request.headers.get("Content-Length")
        if length is None:
            is_larger = self._unsaid and "Transfer-Encoding" in request.headers
        else:
            is_larger = not length.isdecimal() or int(length) > self._limit
        return {} if is_larger else None


class FromAStranger(Matcher):
    """Requests that `asked` matches and whose sender has neither the token nor the cookie of a login."""

    def __init__(self, server: Any, asked: Matcher) -> None:
        self._asked, self._application, self._identity = asked, server.web_app, server.identity_provider

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        return None if self._asked.match(request) is None or self._knows(request) else {}

    def _knows(self, request: HTTPServerRequest) -> bool:
        """As IdentityProvider.get_user does, which routing cannot wait for."""
        asked = RequestHandler(self._application, request)
        given, token = self._identity.get_token(asked), self._identity.token
        return (
            not self._identity.auth_enabled
            or bool(token and given == token)
            or self._identity.get_user_cookie(asked) is not None
        )


@stream_request_body
class Refusal(RequestHandler):
    """Answers once the headers are there; the body is not read."""

    def initialize(self, status: int, message: str) -> None:
        self._answer = status, message

    def check_xsrf_cookie(self) -> None:
        """Nothing is done that another site's page could want."""

    def prepare(self) -> None:
        status, message = self._answer
        self.set_status(status)
        self.finish({"message": message, "reason": None})

    def data_received(self, chunk: bytes) -> None:
        """Nothing keeps it."""
