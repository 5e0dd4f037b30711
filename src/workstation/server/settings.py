"""The settings of the server, read from the environment once, before anything is done.

docs/server.md has the table of them. An empty variable counts as one that is not set, JUPYTER_TOKEN alone excepted:
Compose passes `${NAME:-}` as an empty one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workstation.errors import SettingError
from workstation.server.hooks import DEFAULT_DIRECTORY
from workstation.server.request import HUB_COMMAND, started_by_hub
from workstation.server.site import Site

NAMES = (
    "JUPYTER_PORT",
    "JUPYTER_TOKEN",
    "JUPYTER_TOKEN_FILE",
    "WORKSTATION_ALLOW_EMPTY_TOKEN",
    "WORKSTATION_BASE_URL",
    "WORKSTATION_HOOKS",
    "WORKSTATION_PUBLISHED_PORT",
    "WORKSTATION_TLS",
    "WORKSTATION_TLS_CERTIFICATE",
    "WORKSTATION_TLS_KEY",
)
# Kubernetes sets these in every pod for a Service called `workstation`; a person's typing error has no such company.
SERVICE_LINK = re.compile(r"WORKSTATION_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
# Jupyter's own options that would contradict a setting, the health check or the printed link.
SETTING_OF_OPTION = {
    "base_url": "WORKSTATION_BASE_URL",
    "certfile": "WORKSTATION_TLS_CERTIFICATE",
    "keyfile": "WORKSTATION_TLS_KEY",
    "port": "JUPYTER_PORT",
    "token": "JUPYTER_TOKEN",  # on a command line, every `ps` would show it
}


@dataclass(frozen=True)
class Settings:
    """`site` is None where a JupyterHub started this container: the Hub then says where and for whom it serves."""

    home: Path
    hooks: Path
    site: Site | None
    arguments: tuple[str, ...]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], argv: Sequence[str]) -> Settings:
        """`argv` is what goes to Jupyter beside our own arguments. Raises SettingError: one line, exit code 2."""
        _refuse_unknown(environ)
        home = Path(environ["HOME"])
        hub = started_by_hub(environ)
        if not hub:
            _refuse_contradicting(argv)
        return cls(
            home=home,
            hooks=Path(environ.get("WORKSTATION_HOOKS") or DEFAULT_DIRECTORY),
            site=None if hub else Site.from_environment(environ, home),
            arguments=tuple(argv),
        )

    @property
    def program(self) -> str:
        """`jupyter-lab` itself: `jupyter lab` would start one Python more."""
        return "jupyter-lab" if self.site else HUB_COMMAND

    def program_arguments(self) -> list[str]:
        return [*(self.site.jupyter_arguments() if self.site else ()), *self.arguments]


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    in_kubernetes = "KUBERNETES_SERVICE_HOST" in environ
    for name in sorted(environ):
        if not name.startswith("WORKSTATION_") or name in NAMES or (in_kubernetes and SERVICE_LINK.fullmatch(name)):
            continue
        import difflib

        known = {_without_prefix(setting): setting for setting in NAMES}
        nearest = difflib.get_close_matches(_without_prefix(name), known, n=1, cutoff=0.0)[0]
        raise SettingError(f"{name} is not a setting", remedy=f"Did you mean {known[nearest]}?")


def _without_prefix(name: str) -> str:
    """WORKSTATION_PORT is nearest to JUPYTER_PORT."""
    return name.partition("_")[2]


def _refuse_contradicting(argv: Sequence[str]) -> None:
    for argument in argv:
        option = argument.partition("=")[0]
        setting = SETTING_OF_OPTION.get(option.lstrip("-").rpartition(".")[2].replace("-", "_"))
        if option.startswith("--") and setting:
            raise SettingError(
                f"{option} is a setting of this image", remedy=f"Set {setting} in the environment instead"
            )
