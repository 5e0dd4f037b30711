"""Every route of the server and its extensions, as the server itself knows them."""

from __future__ import annotations

from lab import Lab

# `ROUTE PATTERN VERBS`, a line each.
ASKED = """
from jupyter_server.serverapp import ServerApp
from tornado.web import RequestHandler

def routes(router):
    for rule in router.rules:
        if hasattr(rule.target, "rules"):
            yield from routes(rule.target)
        elif isinstance(rule.target, type) and issubclass(rule.target, RequestHandler):
            pattern = getattr(rule.matcher, "regex", None)  # the gate's own rules ask for more than an address
            if pattern is not None:
                yield pattern.pattern, rule.target

server = ServerApp.instance()
server.initialize(argv=[], new_httpserver=False)
for pattern, handler in routes(server.web_app.default_router):
    verbs = ("get", "post", "put", "patch", "delete")
    takes = [verb for verb in verbs if getattr(handler, verb) is not getattr(RequestHandler, verb)]
    if takes:
        print("ROUTE", pattern, ",".join(takes).upper())
"""


def served(running: Lab) -> dict[str, list[str]]:
    """Pattern to verbs, in the order in which the server tries them."""
    ran = running.run("python", "-c", ASKED)
    found = [line.split() for line in ran.output.splitlines() if line.startswith("ROUTE ")]
    assert len(found) > 60, ran.output
    return {pattern: verbs.split(",") for _, pattern, verbs in found}
