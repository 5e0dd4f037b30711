"""The certificate for HTTPS: a person's own, or a self-signed one on request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workstation.errors import SettingError


@dataclass(frozen=True)
class Certificate:
    """PEM files. A self-signed pair is made when first needed; a person's own is only looked at."""

    path: Path
    key: Path
    self_signed: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], home: Path) -> Certificate | None:
        """None where plain HTTP is wanted. Raises SettingError where the settings contradict each other."""
        mode = environ.get("WORKSTATION_TLS")
        path, key = environ.get("WORKSTATION_TLS_CERTIFICATE"), environ.get("WORKSTATION_TLS_KEY")
        if mode not in (None, "", "off", "self-signed"):
            raise SettingError(f"WORKSTATION_TLS is {mode!r}", remedy="Say off or self-signed")
        if mode and (path or key):
            raise SettingError(
                f"WORKSTATION_TLS={mode} and a certificate of your own are both set",
                remedy="Unset WORKSTATION_TLS, or WORKSTATION_TLS_CERTIFICATE and WORKSTATION_TLS_KEY",
            )
        if bool(path) != bool(key):
            there, missing = ("CERTIFICATE", "KEY") if path else ("KEY", "CERTIFICATE")
            raise SettingError(f"WORKSTATION_TLS_{there} is set alone", remedy=f"Set WORKSTATION_TLS_{missing} too")
        if path and key:
            return cls(Path(path), Path(key))
        if mode == "self-signed":
            directory = home / ".config" / "workstation" / "tls"
            return cls(directory / "certificate.pem", directory / "key.pem", self_signed=True)
        return None

    def make_ready(self) -> None:
        """Make the self-signed pair if it is missing or has expired; raises SettingError if the pair cannot serve."""
        if self.self_signed:
            from workstation.server import self_signed

            self_signed.make_ready(self.path, self.key)
        for name, file in (("WORKSTATION_TLS_CERTIFICATE", self.path), ("WORKSTATION_TLS_KEY", self.key)):
            _check_readable(name, file)
        _check_pair(self.path, self.key)


def _check_readable(name: str, file: Path) -> None:
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        raise SettingError(
            f"{name}={file} cannot be read: {error.strerror}",
            remedy="Mount the PEM file there, readable by the container's user",
        ) from error


def _check_pair(path: Path, key: Path) -> None:
    import ssl

    try:
        # An empty password: OpenSSL would otherwise ask for one on the terminal, and wait.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingError(
                f"the key {key} does not belong to the certificate {path}", remedy="Give the pair"
            ) from error
        raise SettingError(
            f"{path} and {key} are not a certificate and its key ({error.reason or 'no PEM block'})",
            remedy="Give PEM files, the key without a passphrase",
        ) from error
