from __future__ import annotations

import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from workstation.errors import SettingError
from workstation.server import self_signed
from workstation.server.certificate import Certificate


def given(path: Path, key: Path) -> Certificate:
    environ = {"WORKSTATION_TLS_CERTIFICATE": str(path), "WORKSTATION_TLS_KEY": str(key)}
    certificate = Certificate.from_environment(environ, Path("/home/workstation"))
    assert certificate is not None
    return certificate


@pytest.fixture
def pair(tmp_path: Path) -> Certificate:
    self_signed.make_ready(tmp_path / "own" / "certificate.pem", tmp_path / "own" / "key.pem")
    return given(tmp_path / "own" / "certificate.pem", tmp_path / "own" / "key.pem")


@pytest.fixture
def requested(home: Path) -> Certificate:
    certificate = Certificate.from_environment({"WORKSTATION_TLS": "self-signed"}, home)
    assert certificate is not None
    return certificate


@pytest.mark.parametrize("mode", ["", "off"])
def test_plain_http_unless_asked(mode: str, home: Path) -> None:
    assert Certificate.from_environment({"WORKSTATION_TLS": mode}, home) is None


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"WORKSTATION_TLS": "on"}, "Say off or self-signed"),
        ({"WORKSTATION_TLS_CERTIFICATE": "/c.pem"}, "Set WORKSTATION_TLS_KEY too"),
        ({"WORKSTATION_TLS_KEY": "/k.pem"}, "Set WORKSTATION_TLS_CERTIFICATE too"),
        ({"WORKSTATION_TLS": "self-signed", "WORKSTATION_TLS_CERTIFICATE": "/c.pem"}, "both set"),
        ({"WORKSTATION_TLS": "off", "WORKSTATION_TLS_KEY": "/k.pem"}, "both set"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str], message: str, home: Path) -> None:
    with pytest.raises(SettingError, match=message):
        Certificate.from_environment(environ, home)


def test_a_pair_of_ones_own_is_taken(pair: Certificate) -> None:
    pair.make_ready()


@pytest.mark.parametrize("name", ["certificate.pem", "key.pem"])
def test_a_missing_file_is_named(pair: Certificate, name: str) -> None:
    (pair.path.parent / name).unlink()
    with pytest.raises(SettingError, match=rf"WORKSTATION_TLS_(CERTIFICATE|KEY)=.*{name} cannot be read: No such file"):
        pair.make_ready()


def test_a_key_of_another_certificate_is_refused(pair: Certificate, requested: Certificate) -> None:
    requested.make_ready()
    with pytest.raises(SettingError, match="does not belong to the certificate"):
        given(pair.path, requested.key).make_ready()


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_that_is_no_certificate_is_refused(pair: Certificate, content: str) -> None:
    pair.path.write_text(content)
    with pytest.raises(SettingError, match="are not a certificate and its key"):
        pair.make_ready()


def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(pair: Certificate) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(SettingError, match="without a passphrase"):
        pair.make_ready()


def test_a_self_signed_key_is_its_owners_alone(requested: Certificate) -> None:
    requested.make_ready()
    assert requested.key.stat().st_mode & 0o777 == 0o600


def test_a_self_signed_certificate_is_kept_while_it_is_good(requested: Certificate) -> None:
    requested.make_ready()
    first = requested.path.read_bytes()
    requested.make_ready()
    assert requested.path.read_bytes() == first


def test_a_self_signed_certificate_that_is_about_to_expire_is_made_anew(
    requested: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_signed, "LIFETIME", datetime.timedelta(hours=2))
    requested.make_ready()
    short = requested.path.read_bytes()
    monkeypatch.undo()
    requested.make_ready()
    assert requested.path.read_bytes() != short


def test_a_self_signed_pair_that_is_broken_is_made_anew(requested: Certificate) -> None:
    requested.make_ready()
    requested.key.write_text("broken")
    requested.make_ready()


def test_a_self_signed_certificate_is_for_this_machine(requested: Certificate) -> None:
    requested.make_ready()
    certificate = x509.load_pem_x509_certificate(requested.path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", socket.gethostname()]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


def test_a_client_that_trusts_the_self_signed_certificate_reaches_localhost(requested: Certificate) -> None:
    requested.make_ready()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(requested.path, requested.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with serving.wrap_socket(listener.accept()[0], server_side=True) as connection:
                connection.sendall(b"hello")

        threading.Thread(target=answer, daemon=True).start()
        asking = ssl.create_default_context(cafile=str(requested.path))
        plain = socket.create_connection(listener.getsockname(), timeout=10)
        with asking.wrap_socket(plain, server_hostname="localhost") as connection:
            assert connection.recv(5) == b"hello"
