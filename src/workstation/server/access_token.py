"""The token that lets a browser in: given, read from a secret, or made up. It never reaches a command line."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workstation.errors import SettingError


@dataclass(frozen=True)
class Token:
    """`value` is "" where a person said aloud that they want none; `secret` is the file it was read from."""

    value: str = field(repr=False)
    secret: Path | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Token:
        """Raises SettingError for an empty token, an unusable secret, or two sources at once."""
        secret = environ.get("JUPYTER_TOKEN_FILE")
        if not secret:
            return cls(_given(environ) if "JUPYTER_TOKEN" in environ else secrets.token_hex(24))
        if "JUPYTER_TOKEN" in environ:
            raise SettingError(
                "JUPYTER_TOKEN and JUPYTER_TOKEN_FILE are both set",
                # .env always has a token, and `docker-compose.yml` hands it over
                remedy="Keep one of them: with Compose, write `JUPYTER_TOKEN: !reset null` beside the file's name",
            )
        return cls(_read(Path(secret)), Path(secret))


def _given(environ: Mapping[str, str]) -> str:
    value = environ["JUPYTER_TOKEN"]
    allowed = environ.get("WORKSTATION_ALLOW_EMPTY_TOKEN") or "no"
    if allowed not in ("yes", "no"):
        raise SettingError(f"WORKSTATION_ALLOW_EMPTY_TOKEN is {allowed!r}", remedy="Say yes or no")
    if not value and allowed == "no":
        raise SettingError(
            "JUPYTER_TOKEN is empty, which would let anyone in",
            remedy="Leave it unset for a random one, or set WORKSTATION_ALLOW_EMPTY_TOKEN=yes too",
        )
    return _without_blanks(value, "JUPYTER_TOKEN")


def _read(secret: Path) -> str:
    try:
        value = secret.read_text().strip()  # jupyter_server itself would keep the line's end as part of the token
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingError(
            f"JUPYTER_TOKEN_FILE={secret} cannot be read: {reason}",
            remedy="Mount the secret there, readable by the container's user",
        ) from error
    if not value:
        raise SettingError(f"JUPYTER_TOKEN_FILE={secret} is empty", remedy="Write the token into it")
    return _without_blanks(value, f"The token in {secret}")


def _without_blanks(value: str, what: str) -> str:
    if any(character.isspace() or not character.isprintable() for character in value):
        raise SettingError(f"{what} holds a space, a line break or a control character", remedy="Remove it")
    return value
