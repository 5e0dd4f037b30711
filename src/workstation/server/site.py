"""Where the server answers, and how one is let in."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from workstation.errors import SettingError
from workstation.server.access_token import Token
from workstation.server.certificate import Certificate

DEFAULT_PORT = 8888
# RFC 3986's unreserved characters: what needs no escaping in a cookie's path, a proxy's rule or a shell.
BASE_URL = re.compile(r"/(?:[A-Za-z0-9._~-]+/)*")


@dataclass(frozen=True)
class Site:
    token: Token
    port: int
    published_port: int
    base_url: str
    certificate: Certificate | None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], home: Path) -> Site:
        port = _port(environ, "JUPYTER_PORT", DEFAULT_PORT)
        return cls(
            token=Token.from_environment(environ),
            port=port,
            published_port=_port(environ, "WORKSTATION_PUBLISHED_PORT", port),
            base_url=_base_url(environ),
            certificate=Certificate.from_environment(environ, home),
        )

    def link(self) -> str:
        """What a person clicks. A token that came as a secret file stays out of the container's log."""
        scheme = "https" if self.certificate else "http"
        page = f"{scheme}://127.0.0.1:{self.published_port}{self.base_url}lab"
        if self.token.secret:
            return f"{page}  (the token is in {self.token.secret})"
        return f"{page}?token={quote(self.token.value, safe='')}" if self.token.value else f"{page}  (no token needed)"

    def jupyter_arguments(self) -> list[str]:
        arguments = [
            f"--ServerApp.port={self.port}",
            f"--ServerApp.base_url={self.base_url}",
            # Not under a Hub, whose servers ask the Hub who somebody is: the gate cannot wait for that.
            "--ServerApp.jpserver_extensions=workstation.server.gate=True",
        ]
        if self.certificate:
            arguments += [
                f"--ServerApp.certfile={self.certificate.path}",
                f"--ServerApp.keyfile={self.certificate.key}",
            ]
        if not self.token.value:  # jupyter_server reads an empty JUPYTER_TOKEN as none given, and makes one up
            arguments.append("--IdentityProvider.token=")
        return arguments

    def environment(self) -> dict[str, str]:
        return {"JUPYTER_TOKEN": self.token.value}

    def make_ready(self) -> None:
        """Raises SettingError where the port cannot be bound or the certificate cannot serve."""
        self._check_port()
        if self.certificate:
            self.certificate.make_ready()

    def _check_port(self) -> None:
        """Jupyter would end in a traceback, or log it where nobody looks (`--network host`, ports below 1024)."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", self.port))
            except OSError as error:
                raise SettingError(
                    f"port {self.port} cannot be used: {error.strerror}",
                    remedy="Set JUPYTER_PORT to a port above 1023"
                    if error.errno == errno.EACCES
                    else "Set JUPYTER_PORT to a free one",
                ) from error


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    value = environ.get(name) or str(default)
    if value.isascii() and value.isdigit() and 1 <= int(value) <= 65535:
        return int(value)
    if value.startswith("tcp://"):
        raise SettingError(
            f"{name} is {value!r}, which Kubernetes sets for a Service of that name",
            remedy="Rename the Service, or set enableServiceLinks: false in the pod",
        )
    raise SettingError(f"{name} is {value!r}, not a port", remedy="Give a whole number from 1 to 65535")


def _base_url(environ: Mapping[str, str]) -> str:
    value = environ.get("WORKSTATION_BASE_URL") or "/"
    base_url = "/" + value.strip("/") + "/" if value.strip("/") else "/"
    if not BASE_URL.fullmatch(base_url) or {".", ".."} & set(base_url.split("/")):
        raise SettingError(
            f"WORKSTATION_BASE_URL is {value!r}, not a path",
            remedy="Give letters, digits, . _ ~ - and /, as in /lab/ada",
        )
    return base_url
