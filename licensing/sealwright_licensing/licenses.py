"""Rules of a licence and its devices: pure, without storage. Each raises the denial that the box is told."""

from __future__ import annotations

from sealwright_licensing.endorsement import Tier
from sealwright_licensing.records import Device, DeviceStatus, License, LicenseStatus
from sealwright_policies.appraisal.reference_values import Manifest, version_key
from sealwright_policies.errors import RejectionCode, VerificationError


def allowed_tiers(license_: License) -> frozenset[Tier]:
    """Tiers of TPM on which the licence may be used."""
    return frozenset(Tier(tier) for tier in license_.tiers.split(","))


def require_usable(license_: License, *, now: int) -> None:
    """Refuse a licence that is revoked, suspended or over.

    Raises:
        VerificationError: REVOKED, SUSPENDED, EXPIRED.
    """
    match license_.status:
        case LicenseStatus.REVOKED:
            raise VerificationError(RejectionCode.REVOKED, "the licence has been revoked")
        case LicenseStatus.SUSPENDED:
            raise VerificationError(RejectionCode.SUSPENDED, "the licence is suspended")
        case LicenseStatus.ACTIVE:
            if now >= license_.expires_at:
                raise VerificationError(RejectionCode.EXPIRED, "the licence has ended", expires_at=license_.expires_at)


def require_tier(license_: License, tier: Tier) -> None:
    """Refuse a TPM of a kind that the licence does not allow.

    Raises:
        VerificationError: TIER_NOT_ALLOWED.
    """
    if tier not in allowed_tiers(license_):
        raise VerificationError(
            RejectionCode.TIER_NOT_ALLOWED,
            f"the TPM is of tier {tier}, the licence allows {license_.tiers}",
            expected=license_.tiers,
            found=str(tier),
        )


def require_release(license_: License, manifest: Manifest, *, withdrawn: bool) -> None:
    """Refuse a release of another product, a test image, a withdrawn release or one below the floor.

    Raises:
        VerificationError: RELEASE_NOT_ALLOWED, VERSION_BELOW_FLOOR.
    """
    if manifest.product != license_.product:
        raise VerificationError(
            RejectionCode.RELEASE_NOT_ALLOWED,
            f"the release is of product {manifest.product}, the licence is for {license_.product}",
        )
    if manifest.flavour == "test" and not license_.allow_test_images:
        raise VerificationError(
            RejectionCode.RELEASE_NOT_ALLOWED, "the release is a test image, and the licence does not allow those"
        )
    if withdrawn:
        raise VerificationError(RejectionCode.RELEASE_NOT_ALLOWED, "the release has been withdrawn")
    if version_key(manifest.product_version) < version_key(license_.version_floor):
        raise VerificationError(
            RejectionCode.VERSION_BELOW_FLOOR,
            f"version {manifest.product_version} is below {license_.version_floor}, the lowest that is allowed",
            expected=license_.version_floor,
            found=manifest.product_version,
        )


def require_not_held(device: Device) -> None:
    """Refuse a device whose TPM's state was put back.

    Raises:
        VerificationError: ROLLED_BACK.
    """
    if device.status is DeviceStatus.HELD:
        raise VerificationError(
            RejectionCode.ROLLED_BACK, f"the device is held until the operator resumes it: {device.held_because}"
        )
