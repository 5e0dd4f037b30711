"""Signatures by cosign: with a key, which needs nothing but the registry, or with a workflow's identity (keyless)."""

from __future__ import annotations

from dataclasses import dataclass

from registry import Manifest
from tool import PublishError, output


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
        """Raises PublishError (1) where it is not signed so."""
        output("cosign", "verify", *self.options, manifest.reference, code=1)

    def accepts(self, manifest: Manifest) -> bool:
        try:
            self.require(manifest)
        except PublishError as error:
            if error.code != 1:
                raise
            return False
        return True
