"""What a vendor could show to its customer that is not what it seems; the rest is tests/integration/appliance."""

from __future__ import annotations

import pytest

from sealwright_licensing.device_certificates import issue_device_certificate
from sealwright_policies.appraisal.box_evidence import (
    NONCE_SIZE,
    BoxEvidence,
    TrustAnchors,
    VerifiedBox,
    tls_payload,
    verify_box,
)
from sealwright_policies.errors import VerificationError
from sealwright_policies.wire.messages import Purpose
from sealwright_testing.evidence_factory import SyntheticBox
from sealwright_testing.license_world import LicenseWorld, synthetic_box
from sealwright_testing.release_log import release_proof
from sealwright_testing.software_device import SoftwareDevice

NONCE, FINGERPRINT = bytes(NONCE_SIZE), bytes(range(32))
LICENSE = "license-1"


def shown(world: LicenseWorld, box: SyntheticBox, *, logged_as: str | None = None) -> BoxEvidence:
    """The answer of a device with this release, which the log has under a version."""
    device = SoftwareDevice(box, world.maker)
    certificate = issue_device_certificate(
        world.keys,
        device.box.public.key(),
        device_id=device.device_id,
        license_id=LICENSE,
        tier="software",
        now=world.now,
        expires_at=world.now + 3600,
    )
    manifest = box.release.manifest
    payload = tls_payload(FINGERPRINT)
    bound = device.bound(nonce=NONCE, license_id=LICENSE, purpose=Purpose.VERIFY, payload=payload)
    return BoxEvidence(
        version=1,
        ak_public=device.ak.public_area,
        device_certificate=certificate.pem,
        manifest=box.release_envelope,
        variants=b"",
        log=release_proof(
            world.keys.log[-1],
            box.release.release_id,
            product=manifest.product,
            product_version=logged_as or manifest.product_version,
        ),
        evidence=device.evidence(bound, payload=payload),
    )


def verify(world: LicenseWorld, box: SyntheticBox, evidence: BoxEvidence) -> VerifiedBox:
    anchors = TrustAnchors(world.service, box.manifest_key.public_key())
    return verify_box(evidence, anchors, nonce=NONCE, fingerprint=FINGERPRINT, now=world.now)


def test_a_release_that_is_logged_as_itself_is_verified(world: LicenseWorld) -> None:
    box = synthetic_box()
    assert verify(world, box, shown(world, box)).release.release_id == box.release.release_id


def test_a_release_that_is_logged_under_another_version_is_not(world: LicenseWorld) -> None:
    """The log is honest about its entry: auditors read of another version than the one that runs."""
    box = synthetic_box()
    with pytest.raises(VerificationError, match="LOG_PROOF_INVALID"):
        verify(world, box, shown(world, box, logged_as="1.1.0"))


def test_a_test_image_is_not_what_a_customer_has_bought(world: LicenseWorld) -> None:
    box = synthetic_box(flavour="test")
    with pytest.raises(VerificationError, match="RELEASE_NOT_ALLOWED"):
        verify(world, box, shown(world, box))


def test_a_storage_key_signs_nothing_that_is_believed(world: LicenseWorld) -> None:
    """A certificate for a key that is not restricted: its owner signs what he likes with it."""
    box = synthetic_box()
    evidence = shown(world, box)
    area = bytearray(evidence.ak_public)
    area[5] &= 0xFE  # RESTRICTED, bit 16 of the attributes (Part 2, 8.3.2)
    with pytest.raises(VerificationError, match="AK_ATTRIBUTES"):
        verify(world, box, evidence.model_copy(update={"ak_public": bytes(area)}))
