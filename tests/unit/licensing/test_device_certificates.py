"""Device certificates are, to the byte, what cryptography's builder makes of the same fields."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from sealwright_licensing.device_certificates import issue_device_certificate
from sealwright_licensing.keys import SigningKeys, new_nonce_key, new_p256_key
from sealwright_policies.tcg.signature import PublicKey
from sealwright_policies.wire.device_certificate import (
    DEVICE_CERTIFICATE_USAGE,
    device_certificate_urns,
    verify_device_certificate,
)

NOW = 1_800_000_000
YEAR_2051 = 2_560_000_000
FEATURES = ("training", "serving")
AKS: dict[str, PublicKey] = {
    "P-256": new_p256_key().public_key(),
    "P-384": ec.generate_private_key(ec.SECP384R1()).public_key(),
    "RSA": rsa.generate_private_key(65537, 2048).public_key(),
}


@pytest.fixture(scope="module")
def keys() -> SigningKeys:
    """A service's keys."""
    authority = new_p256_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Devices of Ütrecht")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(authority.public_key())
        .serial_number(1)
        .not_valid_before(_time(0))
        .not_valid_after(_time(2**32))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority, SHA256())
    )
    return SigningKeys(Ed25519PrivateKey.generate(), new_p256_key(), authority, certificate, new_nonce_key())


@pytest.mark.parametrize("expires_at", [NOW + 1, YEAR_2051])
@pytest.mark.parametrize("ak", AKS)
def test_the_bytes_are_those_of_a_certificate_builder(keys: SigningKeys, ak: str, expires_at: int) -> None:
    issued = issue_device_certificate(
        keys, AKS[ak], device_id="d" * 52, license_id="lic-0", tier="hardware", features=FEATURES, now=NOW,
        expires_at=expires_at,
    )  # fmt: skip

    certificate = x509.load_pem_x509_certificate(issued.pem.encode("ascii"))
    assert f"{certificate.serial_number:x}" == issued.serial
    expected = _built(keys, AKS[ak], certificate.serial_number, expires_at)
    assert certificate.tbs_certificate_bytes == expected.tbs_certificate_bytes
    authority = keys.device_ca_certificate.public_bytes(Encoding.PEM).decode("ascii")
    verified = verify_device_certificate(issued.pem, authority, now=NOW)
    assert (verified.device_id, verified.features) == ("d" * 52, frozenset(FEATURES))


def _built(keys: SigningKeys, ak: PublicKey, serial: int, expires_at: int) -> x509.Certificate:
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
         "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    urns = device_certificate_urns("d" * 52, "lic-0", "hardware", FEATURES)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "d" * 52)]))
        .issuer_name(keys.device_ca_certificate.subject)
        .public_key(ak)
        .serial_number(serial)
        .not_valid_before(_time(NOW - 600))
        .not_valid_after(_time(expires_at))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(DEVICE_CERTIFICATE_USAGE)]), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(urn) for urn in urns]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ak), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys.device_ca.public_key()), critical=False)
        .sign(keys.device_ca, SHA256())
    )


def _time(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
