"""Device certificates (policies/spec/enrollment.md, 6): AK, device and tier, for third parties.

They end with the lease and are renewed with it, so there is no revocation list to fetch.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from sealwright_licensing.keys import SigningKeys
from sealwright_policies.tcg.signature import PublicKey
from sealwright_policies.wire.device_certificate import DEVICE_CERTIFICATE_USAGE, device_certificate_urns

_CLOCK_SLACK = datetime.timedelta(minutes=10)
_NO_AUTHORITY = x509.BasicConstraints(ca=False, path_length=None)
_KEY_USAGE = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
)  # fmt: skip
_EXTENDED_KEY_USAGE = x509.ExtendedKeyUsage([x509.ObjectIdentifier(DEVICE_CERTIFICATE_USAGE)])


@dataclass(frozen=True, slots=True)
class DeviceCertificate:
    """An issued certificate; the serial in hex."""

    serial: str
    pem: str


def issue_device_certificate(
    keys: SigningKeys, ak: PublicKey, *, device_id: str, license_id: str, tier: str, now: int, expires_at: int
) -> DeviceCertificate:
    """Certify that an AK is in the TPM of a device of this tier, until ``expires_at``.

    Args:
        keys: the device authority.
        ak: public key of the AK.
        device_id, license_id, tier: stand as URNs in the alternative names.
        now, expires_at: seconds since the epoch.
    """
    start = datetime.datetime.fromtimestamp(now, datetime.UTC)
    serial = x509.random_serial_number()
    urns = device_certificate_urns(device_id, license_id, tier)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device_id)]))
        .issuer_name(keys.device_ca_certificate.subject)
        .public_key(ak)
        .serial_number(serial)
        .not_valid_before(start - _CLOCK_SLACK)
        .not_valid_after(datetime.datetime.fromtimestamp(expires_at, datetime.UTC))
        .add_extension(_NO_AUTHORITY, critical=True)
        .add_extension(_KEY_USAGE, critical=True)
        .add_extension(_EXTENDED_KEY_USAGE, critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(urn) for urn in urns]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ak), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys.device_ca.public_key()), critical=False)
        .sign(keys.device_ca, SHA256())
    )
    return DeviceCertificate(f"{serial:x}", certificate.public_bytes(Encoding.PEM).decode("ascii"))
