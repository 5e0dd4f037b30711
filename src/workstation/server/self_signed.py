"""A self-signed certificate for a container that nobody has given one: encrypts, but proves no identity."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from workstation.server.atomic import make_directory, write

LIFETIME = datetime.timedelta(days=365)  # browsers refuse more than 398 days


def make_ready(path: Path, key: Path) -> None:
    """Keep a pair that works and has a day left; make a new one otherwise. The key's mode is 0600."""
    if not _usable(path, key):
        certificate_pem, key_pem = _make()
        make_directory(path.parent, mode=0o700)
        write(key, key_pem, mode=0o600)
        write(path, certificate_pem)


def _usable(path: Path, key: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, key, password="")
        expires: datetime.datetime = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        return False
    return expires > _now() + datetime.timedelta(days=1)


def _make() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    hostname = socket.gethostname()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "torch-workstation")])
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - datetime.timedelta(hours=1))  # a browser's clock may be behind
        .not_valid_after(_now() + LIFETIME)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName(hostname), *addresses]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
