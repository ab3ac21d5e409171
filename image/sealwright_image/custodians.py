"""The licence service that an image is built for: its file, checked, and its custodian keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.errors import FormatError, UsageError
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.envelope import load_ed25519_public_key, load_p256_public_key
from sealwright_policies.wire.service import LicenseService

SERVICE_LIMIT = 256 * 1024
"""Bytes of the longest licence-service file that is read."""


@dataclass(frozen=True, slots=True)
class Custodians:
    """Whom the key shares are wrapped to."""

    service: LicenseService
    service_file: bytes
    """As read; goes into the measured root byte for byte."""
    lease_share: ec.EllipticCurvePublicKey
    release_share: ec.EllipticCurvePublicKey


def load_custodians(path: Path) -> Custodians:
    """Read a licence-service file, as ``sealwright-license init`` writes it.

    Raises:
        UsageError: it cannot be read, is no such file, or its keys are of the wrong kind or serve two purposes.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(SERVICE_LIMIT + 1)
    except OSError as error:
        raise UsageError(
            f"{path}: the licence service's file cannot be read: {error.strerror}."
            " `sealwright-license init` writes it; name it in `license_service`."
        ) from error
    try:
        service = parse_json(LicenseService, data, limit=SERVICE_LIMIT)
        lease_share = load_p256_public_key(service.custodian_keys.lease_share)
        release_share = load_p256_public_key(service.custodian_keys.release_share)
        policy_key = load_p256_public_key(service.lease_policy_key)
        load_ed25519_public_key(service.lease_document_key)
        for pem in (service.ca, service.device_ca):
            x509.load_pem_x509_certificate(pem.encode("ascii"))
    except (FormatError, ValueError) as error:
        raise UsageError(f"{path}: not a valid licence-service file: {error}") from error
    points = {key.public_numbers() for key in (lease_share, release_share, policy_key)}
    if len(points) != 3:
        raise UsageError(f"{path}: two keys of the licence service are the same; none may serve two purposes.")
    return Custodians(service, data, lease_share, release_share)
