"""What a box shows to its customer, and its verification without the vendor's help (policies/spec/box-evidence.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field, StringConstraints

from sealwright_policies.appraisal.appraise import appraise
from sealwright_policies.appraisal.boot_variants import verify_variants
from sealwright_policies.appraisal.release import Release, verify_release
from sealwright_policies.appraisal.result import AttestationResult
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.tcg.templates import check_ak
from sealwright_policies.transparency.checkpoint import Checkpoint
from sealwright_policies.transparency.release_proof import ReleaseProof, require_logged_as, verify_release_proof
from sealwright_policies.wire.device_certificate import (
    CERTIFICATE_LIMIT,
    VerifiedDeviceCertificate,
    verify_device_certificate,
)
from sealwright_policies.wire.encoding import Bytes4K, Bytes4M, Bytes64K, Document
from sealwright_policies.wire.framing import BOX_TLS_LABEL, framed
from sealwright_policies.wire.messages import Evidence, Purpose
from sealwright_policies.wire.service import LicenseService

NONCE_SIZE = 32
BOX_EVIDENCE_LIMIT = 10 * 1024 * 1024
"""Bytes of the longest reply that is read: manifest and logs at their own limits, in base64."""


class BoxChallenge(Document):
    """``POST /evidence``."""

    nonce: Annotated[Bytes4K, Field(min_length=NONCE_SIZE, max_length=NONCE_SIZE)]


class BoxEvidence(Document):
    """The reply."""

    version: Annotated[int, Field(ge=1, le=1)]
    ak_public: Bytes4K
    """TPMT_PUBLIC."""
    device_certificate: Annotated[str, StringConstraints(max_length=CERTIFICATE_LIMIT)]
    """PEM."""
    manifest: Bytes4M
    """DSSE envelope."""
    variants: Bytes64K
    """DSSE envelope; empty where the box has none."""
    log: ReleaseProof
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """What the customer has from the vendor by another way."""

    service: LicenseService
    manifest_key: ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class VerifiedBox:
    """A box that runs what its release says."""

    release: Release
    device: VerifiedDeviceCertificate
    checkpoint: Checkpoint
    """Signed state of the log that the release is in."""
    result: AttestationResult


def tls_payload(fingerprint: bytes) -> bytes:
    """What the quote speaks for: SHA-256 of the box's TLS certificate, DER; 32 bytes."""
    return framed(BOX_TLS_LABEL, fingerprint)


def verify_box(shown: BoxEvidence, anchors: TrustAnchors, *, nonce: bytes, fingerprint: bytes, now: int) -> VerifiedBox:
    """Verify what a box has shown to its customer.

    Args:
        shown: as received.
        anchors: the vendor's keys.
        nonce: that was sent, 32 bytes.
        fingerprint: SHA-256 of the certificate, DER, of the connection over which it was received; 32 bytes.
        now: seconds since the epoch.

    Raises:
        FormatError, UnsupportedError, VerificationError: as :func:`verify_shown`.
    """
    return verify_shown(shown, anchors, nonce=nonce, payload=tls_payload(fingerprint), purpose=Purpose.VERIFY, now=now)


def verify_shown(
    shown: BoxEvidence, anchors: TrustAnchors, *, nonce: bytes, payload: bytes, purpose: Purpose, now: int
) -> VerifiedBox:
    """Verify what a box has shown for a purpose.

    Args:
        shown: as received.
        anchors: the vendor's keys.
        nonce: that was sent, 32 bytes.
        payload: what its quote must speak for; holds the digest of the connection's certificate.
        purpose: what it was asked for.
        now: seconds since the epoch.

    Raises:
        FormatError, UnsupportedError: a document, structure or log that is none of ours.
        VerificationError: with the first thing that is wrong; of an appraisal, all in ``details["mismatches"]``.
    """
    release = verify_release(shown.manifest, anchors.manifest_key)  # (1)
    if shown.variants:
        release = verify_variants(shown.variants, anchors.manifest_key, release)
    manifest = release.manifest
    if manifest.service_id != anchors.service.service_id:
        raise VerificationError(
            RejectionCode.MANIFEST_MISMATCH,
            f"The release belongs to the licence service {manifest.service_id!r}, and the file to "
            f"{anchors.service.service_id!r}.",
        )
    checkpoint = verify_release_proof(shown.log, release.release_id, anchors.service)  # (2)
    require_logged_as(shown.log, manifest.product, manifest.product_version)
    device = verify_device_certificate(shown.device_certificate, anchors.service.device_ca, now=now)  # (3)
    ak = parse_public(shown.ak_public)  # (4)
    check_ak(ak)
    if ak.key() != device.ak:
        raise VerificationError(
            RejectionCode.DOCUMENT_SIGNATURE, "The device certificate is for another key than the one that signed."
        )
    if shown.evidence.payload != payload:  # (5)
        raise VerificationError(
            RejectionCode.QUALIFYING_DATA_MISMATCH,
            "The box's TPM vouches for another TLS certificate than this connection's: somebody is in between.",
        )
    result = appraise(  # (6)
        shown.evidence,
        ak=ak,
        nonce=nonce,
        device_id=device.device_id,
        license_id=device.license_id,
        release=release,
        purpose=purpose,
        now=now,
    )
    result.require_affirming()
    require_for_customers(release)  # (7)
    return VerifiedBox(release, device, checkpoint, result)


def require_for_customers(release: Release) -> None:
    """Refuse what no customer has bought.

    Raises:
        VerificationError: ``RELEASE_NOT_ALLOWED``: a test image.
    """
    if release.manifest.flavour != "production":
        raise VerificationError(
            RejectionCode.RELEASE_NOT_ALLOWED, "The release is a test image, which carries a planted payload."
        )
