"""Certificates of one workflow: a certificate authority of its own, and what it signed.

Whoever holds one of its certificates may talk to the workflow's scheduler and workers, and nobody
else may. They end after some days. The authority's own key is thrown away at once: nothing more
can be signed.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_FOR = timedelta(days=14)
"""How long certificates hold; no workflow takes longer."""

_CLOCKS_DIFFER_BY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key, as PEM, and the authority that others are checked against."""

    certificate: str
    key: str
    authority: str

    def __repr__(self) -> str:
        return "Identity(…)"  # a key has no place in a log

    def files(self) -> dict[str, bytes]:
        """Return them as the files of a Secret."""
        return {
            "tls.crt": self.certificate.encode(),
            "tls.key": self.key.encode(),
            "ca.crt": self.authority.encode(),
        }


def identities(workflow_id: str, *roles: str, now: datetime | None = None) -> list[Identity]:
    """Return a new identity per role, all of the same new authority."""
    now = now or datetime.now(UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    issuer = _name(f"fitcast {workflow_id}")
    authority = (
        _builder(issuer, issuer, authority_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    made = []
    for role in roles:
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(_name(role), issuer, key.public_key(), now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(role)]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
                critical=False,
            )
            .sign(authority_key, hashes.SHA256())
        )
        made.append(Identity(_pem(certificate), _key_pem(key), _pem(authority)))
    return made


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER_BY)
        .not_valid_after(now + VALID_FOR)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
