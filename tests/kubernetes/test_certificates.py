"""Certificates of a workflow: they fit together, and no other workflow's do."""

import socket
import ssl
import threading
from datetime import UTC, datetime

import pytest
from cryptography import x509

from fitcast.scheduler.backends.kubernetes.certificates import VALID_FOR, identities


def context(identity, purpose, folder):
    certificate, key = folder / f"{id(identity)}.crt", folder / f"{id(identity)}.key"
    certificate.write_text(identity.certificate)
    key.write_text(identity.key)
    made = ssl.create_default_context(purpose, cadata=identity.authority)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(certificate, key)
    return made


def shaken_hands(server, client, folder):
    """Return whether both sides accept each other."""
    here, there = socket.socketpair()
    results = []

    def serve():
        try:
            with context(server, ssl.Purpose.CLIENT_AUTH, folder).wrap_socket(
                there, server_side=True
            ) as accepted:
                results.append(accepted.recv(2) == b"hi")
        except (ssl.SSLError, OSError):
            results.append(False)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with context(client, ssl.Purpose.SERVER_AUTH, folder).wrap_socket(here) as connected:
            connected.sendall(b"hi")
    except (ssl.SSLError, OSError):
        results.append(False)
    thread.join(10)
    return all(results)


def test_certificates_of_a_workflow_trust_each_other_and_no_others(tmp_path):
    pods, client = identities("w1", "pods", "client")
    (stranger,) = identities("w2", "client")
    assert shaken_hands(pods, client, tmp_path)
    assert not shaken_hands(pods, stranger, tmp_path)


def test_they_end_soon_and_can_sign_nothing():
    (pods,) = identities("w", "pods")
    certificate = x509.load_pem_x509_certificate(pods.certificate.encode())
    assert certificate.not_valid_after_utc - datetime.now(UTC) <= VALID_FOR
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.value.ca is False


def test_a_key_is_not_shown():
    (pods,) = identities("w", "pods")
    assert "PRIVATE" not in repr(pods)
    with pytest.raises(AttributeError):
        pods.key = ""
