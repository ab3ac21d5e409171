"""The service's own certificates: the TLS authority that boxes trust, its server certificate, the device authority."""

from __future__ import annotations

import datetime
import ipaddress
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 365 * 20
SERVER_DAYS = 365 * 5
_BACKDATED = datetime.timedelta(days=1)
"""A box whose clock is a little behind must not refuse a new certificate."""

ALWAYS_NAMED = ("localhost", "127.0.0.1")
"""Besides the URL's host: the machine itself, for its own checks."""


def new_authority(
    key: ec.EllipticCurvePrivateKey, name: str, *, now: int, succession: bool = False
) -> x509.Certificate:
    """A self-signed CA certificate that issues leaves only.

    Args:
        succession: may issue the certificate of its successor too (:func:`certify_successor`).
    """
    subject = _name(name)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        _builder(subject, subject, key.public_key(), now=now, days=AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=int(succession)), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, SHA256())
    )


def certify_successor(
    authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, successor: x509.Certificate, *, now: int
) -> x509.Certificate:
    """A certificate for the next authority by the one before: who knows the one before alone then follows it too."""
    key = successor.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 - we made it
    days = max(1, (authority.not_valid_after_utc - datetime.datetime.fromtimestamp(now, datetime.UTC)).days)
    return (
        _builder(successor.subject, authority.subject, key, now=now, days=days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, SHA256())
    )


def new_server_certificate(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    url: str,
    *,
    now: int,
) -> x509.Certificate:
    """A TLS server certificate for the host of a URL and the addresses in ALWAYS_NAMED."""
    host = urlsplit(url).hostname or "localhost"
    names = [_general_name(one) for one in dict.fromkeys((host, *ALWAYS_NAMED))]
    return (
        _builder(_name(host[:64]), authority.subject, key, now=now, days=SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, now: int, days: int
) -> x509.CertificateBuilder:
    start = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _BACKDATED)
        .not_valid_after(start + datetime.timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
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
