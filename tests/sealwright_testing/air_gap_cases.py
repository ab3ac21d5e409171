"""A renewal request as a box without a network makes it, and a service as that box knows it."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.appraisal.boot_logs import digest_of_logs
from sealwright_policies.wire.messages import RenewalRequest
from sealwright_policies.wire.service import CustodianKeys, LicenseService
from sealwright_testing.evidence_factory import LICENSE_ID, NONCE, SyntheticBox


def renewal_request(box: SyntheticBox | None = None) -> RenewalRequest:
    """Evidence whose payload is the digest of its logs."""
    made = box or SyntheticBox()
    seen = made.evidence()
    payload = digest_of_logs(seen.boot_log, seen.userspace_log)
    return RenewalRequest(
        device_id=made.device_id,
        license_id=LICENSE_ID,
        release_id=made.release.release_id,
        nonce=NONCE,
        evidence=made.evidence(payload=payload),
    )


def known_service(key: Ed25519PrivateKey) -> LicenseService:
    """A service that signs documents with this key; its other keys are of no account."""
    other = pem(ec.generate_private_key(ec.SECP256R1()))
    return LicenseService(
        version=1,
        service_id="service-1",
        url="https://localhost:8444",
        ca=other,
        lease_document_key=pem(key),
        lease_policy_key=other,
        device_ca=other,
        log_key=other,
        custodian_keys=CustodianKeys(lease_share=other, release_share=other),
    )


def pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> str:
    """The public half."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
