"""Device certificates (policies/spec/enrollment.md, 6): AK, device and tier, for third parties.

They end with the lease and are renewed with it, so there is no revocation list to fetch. One is composed here as DER
(RFC 5280, 4.1): cryptography's builder, which a test compares with, takes three times as long as the signature, and
every renewal has one.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_licensing import der
from sealwright_licensing.keys import SigningKeys
from sealwright_policies.tcg.signature import PublicKey
from sealwright_policies.wire.device_certificate import DEVICE_CERTIFICATE_USAGE, device_certificate_urns

_CLOCK_SLACK_S = 600
_VERSION_3 = der.encode(der.context(0), der.encode_integer(2))
_ECDSA_WITH_SHA256 = der.encode(der.SEQUENCE, der.encode(der.OBJECT_IDENTIFIER, bytes.fromhex("2a8648ce3d040302")))
"""1.2.840.10045.4.3.2 (RFC 5758, 3.2)."""
_COMMON_NAME = der.encode(der.OBJECT_IDENTIFIER, bytes.fromhex("550403"))
"""2.5.4.3."""
_URI = 0x86
"""uniformResourceIdentifier of a GeneralName (RFC 5280, 4.2.1.6)."""


def _extension(number: int, value: bytes, *, critical: bool = False) -> bytes:
    """An extension of id-ce, 2.5.29."""
    name = der.encode(der.OBJECT_IDENTIFIER, bytes((0x55, 0x1D, number)))
    return der.encode(
        der.SEQUENCE, name, der.encode(der.BOOLEAN, b"\xff") if critical else b"", der.encode(der.OCTET_STRING, value)
    )


_KEY_USAGE = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
)  # fmt: skip
_EXTENDED_KEY_USAGE = x509.ExtendedKeyUsage([x509.ObjectIdentifier(DEVICE_CERTIFICATE_USAGE)])
_SAME_FOR_ALL = b"".join((
    _extension(19, x509.BasicConstraints(ca=False, path_length=None).public_bytes(), critical=True),
    _extension(15, _KEY_USAGE.public_bytes(), critical=True),
    _extension(37, _EXTENDED_KEY_USAGE.public_bytes(), critical=True),
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeviceCertificate:
    """An issued certificate; the serial in hex."""

    serial: str
    pem: str


def issue_device_certificate(
    keys: SigningKeys,
    ak: PublicKey,
    *,
    device_id: str,
    license_id: str,
    tier: str,
    features: Sequence[str] = (),
    now: int,
    expires_at: int,
) -> DeviceCertificate:
    """Certify that an AK is in the TPM of a device of this tier, until ``expires_at``.

    Args:
        keys: the device authority.
        ak: public key of the AK.
        device_id, license_id, tier, features: stand as URNs in the alternative names.
        now, expires_at: seconds since the epoch.
    """
    serial = x509.random_serial_number()
    issuer, key_of_issuer = _authority(keys.device_ca_certificate)
    key = ak.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    urns = device_certificate_urns(device_id, license_id, tier, features)
    to_be_signed = der.encode(
        der.SEQUENCE,
        _VERSION_3,
        der.encode_integer(serial),
        _ECDSA_WITH_SHA256,
        issuer,
        der.encode(der.SEQUENCE, der.encode_time(now - _CLOCK_SLACK_S), der.encode_time(expires_at)),
        _common_name(device_id),
        key,
        der.encode(
            der.context(3),
            der.encode(
                der.SEQUENCE,
                _SAME_FOR_ALL,
                _extension(17, der.encode(der.SEQUENCE, *(der.encode(_URI, urn.encode("ascii")) for urn in urns))),
                _extension(14, der.encode(der.OCTET_STRING, _key_identifier(key))),
                key_of_issuer,
            ),
        ),
    )
    signature = keys.device_ca.sign(to_be_signed, ec.ECDSA(SHA256()))
    certificate = der.encode(der.SEQUENCE, to_be_signed, _ECDSA_WITH_SHA256, der.encode_bits(signature))
    return DeviceCertificate(f"{serial:x}", ssl.DER_cert_to_PEM_cert(certificate))


@lru_cache(maxsize=16)
def _authority(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    """Its name, and the extension that names its key."""
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 - we made it
    return certificate.subject.public_bytes(), _extension(
        35, x509.AuthorityKeyIdentifier.from_issuer_public_key(key).public_bytes()
    )


def _common_name(text: str) -> bytes:
    attribute = der.encode(der.SEQUENCE, _COMMON_NAME, der.encode(der.UTF8_STRING, text.encode("utf-8")))
    return der.encode(der.SEQUENCE, der.encode(der.SET, attribute))


def _key_identifier(key: bytes) -> bytes:
    """SHA-1 of the key without its algorithm (RFC 5280, 4.2.1.2, method 1): a name, on which no security rests."""
    _, bits = der.read_element(key).expect(der.SEQUENCE).children()
    return hashlib.sha1(der.decode_bits(bits), usedforsecurity=False).digest()
