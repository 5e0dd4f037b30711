"""Signatures by cosign: with a key, which needs nothing but the registry, or with a workflow's identity (keyless)."""

from __future__ import annotations

from dataclasses import dataclass

from registry import Manifest
from tool import PublishError, output

# How `cosign verify` ends where it has judged: no signature, none that matches, none with a certificate. Whatever else
# stops it (the registry, the log, a key that is no key) is no verdict.
UNSIGNED = (10, 12, 13)


@dataclass(frozen=True)
class Signer:
    """Without a key, the hosted workflow that this runs in signs as itself."""

    key: str | None

    def sign(self, manifest: Manifest) -> None:
        how = ["--key", self.key, "--tlog-upload=false"] if self.key else []
        output("cosign", "sign", "--yes", *how, manifest.reference)


@dataclass(frozen=True)
class Verifier:
    """A public key, or the identity and issuer that a keyless certificate must carry."""

    options: tuple[str, ...]

    @classmethod
    def of_key(cls, key: str) -> Verifier:
        return cls(("--key", key, "--insecure-ignore-tlog=true"))  # there is no log entry to ask for, offline

    @classmethod
    def of_identity(cls, identity: str, issuer: str) -> Verifier:
        return cls(("--certificate-identity-regexp", identity, "--certificate-oidc-issuer", issuer))

    def require(self, manifest: Manifest) -> None:
        """Raises PublishError where it is not signed so (1), or where that cannot be found out (69)."""
        output("cosign", "verify", *self.options, manifest.reference, refusals=UNSIGNED)

    def accepts(self, manifest: Manifest) -> bool:
        try:
            self.require(manifest)
        except PublishError as error:
            if error.code != 1:
                raise
            return False
        return True
