"""What the container was asked to be: the server, or a command. Light: the health check asks it every few seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

HUB_COMMAND = "jupyterhub-singleuser"


def asks_for_server(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """No arguments, or options for Jupyter. A Hub's spawner may name its single-user server as the command."""
    if not arguments or arguments[0].startswith("-"):
        return True
    return arguments[0] == HUB_COMMAND and started_by_hub(environ)


def started_by_hub(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("JUPYTERHUB_API_TOKEN") and environ.get("JUPYTERHUB_SERVICE_URL"))
