"""Device certificates (policies/spec/enrollment.md, 6): the service's word that an AK is in the TPM of a device.

For third parties who want to believe a quote without asking the service. They end with the lease, so there is no
revocation list. The device authority issues leaves only, so there is no path to build.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, ObjectIdentifier

from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.tcg.signature import PublicKey

DEVICE_CERTIFICATE_USAGE = "2.25.218378328680607497442991993260645114046"
"""Extended key usage of device certificates alone. The arc 2.25 (ITU-T X.667) is for UUIDs as numbers; this one is
a44a22e0-b2bb-5255-a32d-51b0969d60be, version 5 of the URL https://sealwright.dev/v1/device-certificate."""
CERTIFICATE_LIMIT = 16_384
NAMES = ("device", "license", "tier")
"""What the alternative names say, in this order: ``urn:sealwright:NAME:VALUE``; then come the licence's features."""
FEATURE = "feature"
FEATURES_MOST = 32
_FEATURE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_EXTENSIONS = {
    ExtensionOID.BASIC_CONSTRAINTS: True,
    ExtensionOID.KEY_USAGE: True,
    ExtensionOID.EXTENDED_KEY_USAGE: True,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME: False,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER: False,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,
}
"""All extensions, and whether each is critical."""


@dataclass(frozen=True, slots=True)
class VerifiedDeviceCertificate:
    """What a device certificate says."""

    device_id: str
    license_id: str
    tier: str
    ak: PublicKey
    features: frozenset[str] = frozenset()
    """Of the licence, when the certificate was issued."""


def device_certificate_urns(device_id: str, license_id: str, tier: str, features: Sequence[str] = ()) -> list[str]:
    """The alternative names; features are brought into their order."""
    named = [*zip(NAMES, (device_id, license_id, tier), strict=True), *((FEATURE, one) for one in sorted(features))]
    return [f"urn:sealwright:{name}:{value}" for name, value in named]


def verify_device_certificate(pem: str, device_ca: str, *, now: int) -> VerifiedDeviceCertificate:
    """Verify a device certificate.

    Args:
        pem: one certificate, nothing around it.
        device_ca: PEM certificate of the device authority, from the service's file.
        now: seconds since the epoch.

    Raises:
        FormatError: not a certificate.
        VerificationError: ``DOCUMENT_SIGNATURE``: not by this authority; ``DOCUMENT_TYPE``: a certificate for another
            use; ``LEASE_EXPIRED``: not valid now.
    """
    certificate, authority = _parse(pem), _parse(device_ca)
    try:
        certificate.verify_directly_issued_by(authority)
        hash_algorithm = certificate.signature_hash_algorithm
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise VerificationError(
            RejectionCode.DOCUMENT_SIGNATURE, "The device certificate is not by the service's device authority."
        ) from error
    if not isinstance(hash_algorithm, SHA256):
        raise VerificationError(RejectionCode.DOCUMENT_SIGNATURE, "The device certificate is not signed over SHA-256.")
    verified = _read(certificate)
    at = datetime.datetime.fromtimestamp(now, datetime.UTC)
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise VerificationError(RejectionCode.LEASE_EXPIRED, "The device certificate is not valid now.")
    return verified


def _parse(pem: str) -> x509.Certificate:
    if len(pem) > CERTIFICATE_LIMIT:
        raise FormatError(f"Device certificate: more than {CERTIFICATE_LIMIT} characters.")
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
    except (ValueError, x509.InvalidVersion) as error:
        raise FormatError(f"Device certificate: {error}") from error
    if certificate.public_bytes(Encoding.PEM).decode("ascii").strip() != pem.strip():
        raise FormatError("Device certificate: not one PEM certificate in its one spelling.")
    return certificate


def _read(certificate: x509.Certificate) -> VerifiedDeviceCertificate:
    try:
        extensions = certificate.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise FormatError(f"Device certificate: extensions not readable: {error}") from error
    if {one.oid: one.critical for one in extensions} != _EXTENSIONS:
        raise _other_use("it has other extensions")
    constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    if constraints.ca or not usage.digital_signature or usage.key_cert_sign:
        raise _other_use("it is not a leaf that signs")
    if list(usages) != [ObjectIdentifier(DEVICE_CERTIFICATE_USAGE)]:
        raise _other_use("its extended key usage is another")
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    values = [one.value.rpartition(":")[2] for one in names if isinstance(one, x509.UniformResourceIdentifier)]
    features = values[len(NAMES) :]
    if (
        len(values) < len(NAMES)
        or len(features) > FEATURES_MOST
        or len(features) != len(set(features))
        or not all(map(_FEATURE_NAME.fullmatch, features))
        or [one.value for one in names] != device_certificate_urns(values[0], values[1], values[2], features)
    ):
        raise _other_use("its names are not those of a device")
    device_id, license_id, tier = values[: len(NAMES)]
    return VerifiedDeviceCertificate(device_id, license_id, tier, _attestation_key(certificate), frozenset(features))


def _attestation_key(certificate: x509.Certificate) -> PublicKey:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError(f"Device certificate: key not readable: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise _other_use("its key is of no AK's kind")
    return key


def _other_use(why: str) -> VerificationError:
    return VerificationError(RejectionCode.DOCUMENT_TYPE, f"The certificate is not a device certificate: {why}.")
