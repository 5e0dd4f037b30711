"""Push an image with its SBOM and provenance, all signed; and verify that a registry's image is that.

    python scripts/publish push LAYOUT.tar REFERENCE [--key KEY]    the image and its provenance
    python scripts/publish attach REFERENCE SBOM [--key KEY]        the SBOM, which must be of this very image
    python scripts/publish join REFERENCE IMAGE... [--key KEY]      one name for the images of several platforms
    python scripts/publish verify REFERENCE (--key PUBLIC_KEY | --identity REGEXP --issuer URL)

Without --key, cosign signs with the identity of the hosted workflow that runs it. A key's password is COSIGN_PASSWORD.
Credentials are those of `docker login`. A registry is spoken to over TLS; `localhost` need not have it.
Exit codes: 0 done, 1 not what was published, 65 what was given does not fit, 69 a registry or a tool is not there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from provenance import provenance
from registry import PROVENANCE, SBOM, Layout, Manifest, push_index, repository_of
from sbom import sbom_of
from signature import Signer, Verifier
from tool import PublishError
from verify import verify


def push_image(layout: Path, reference: str, signer: Signer) -> None:
    """Raises PublishError (65) before anything is pushed where the image does not say from what it was built."""
    packed = Layout.read(layout)
    said = provenance(repository_of(reference), packed.digest, packed.config)
    image = packed.push(reference)
    statement = image.attach(PROVENANCE, "provenance.json", said)
    for manifest in (image, statement):
        signer.sign(manifest)
    print(f"{image.reference}: pushed, with provenance, signed")


def attach_sbom(reference: str, sbom: Path, signer: Signer) -> None:
    """Raises PublishError (65) where the SBOM is of another image."""
    image = Manifest.resolve(reference)
    signer.sign(image.attach(SBOM, "sbom.cdx.json", sbom_of(image, sbom)))
    print(f"{image.reference}: SBOM attached, signed")


def join(reference: str, parts: list[str], signer: Signer) -> None:
    index = push_index(reference, [Manifest.resolve(part) for part in parts])
    signer.sign(index)
    print(f"{index.reference}: {len(parts)} platforms, signed")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = made.add_subparsers(dest="action", required=True)
    for name, arguments in {"push": ("layout", "reference"), "attach": ("reference", "sbom")}.items():
        action = actions.add_parser(name)
        for argument in arguments:
            action.add_argument(argument, type=str if argument == "reference" else Path)
        action.add_argument("--key")
    action = actions.add_parser("join")
    action.add_argument("reference")
    action.add_argument("parts", nargs="+", metavar="image")
    action.add_argument("--key")
    action = actions.add_parser("verify")
    action.add_argument("reference")
    who = action.add_mutually_exclusive_group(required=True)
    who.add_argument("--key")
    who.add_argument("--identity")
    action.add_argument("--issuer", default="https://token.actions.githubusercontent.com")
    return made


def main() -> int:
    given = parser().parse_args()
    try:
        match given.action:
            case "push":
                push_image(given.layout, given.reference, Signer(given.key))
            case "attach":
                attach_sbom(given.reference, given.sbom, Signer(given.key))
            case "join":
                join(given.reference, given.parts, Signer(given.key))
            case "verify":
                verifier = (
                    Verifier.of_key(given.key) if given.key else Verifier.of_identity(given.identity, given.issuer)
                )
                for line in verify(given.reference, verifier):
                    print(line)
    except PublishError as error:
        print(f"publish: {error}", file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
