"""Rules of a licence and its devices: pure, without storage. Each raises the denial that the box is told."""

from __future__ import annotations

from collections.abc import Iterable

from sealwright_licensing.endorsement import Tier
from sealwright_licensing.records import Device, DeviceStatus, License, LicenseStatus, ReleaseRecord
from sealwright_policies.appraisal.reference_values import Manifest, Payload, version_key
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.lease import EndBehaviour


def allowed_tiers(license_: License) -> frozenset[Tier]:
    """Tiers of TPM on which the licence may be used."""
    return frozenset(Tier(tier) for tier in license_.tiers.split(","))


def require_enrollable(license_: License, *, now: int) -> None:
    """Refuse new devices under a licence that is not in force: grace is for those that are there.

    Raises:
        VerificationError: REVOKED, SUSPENDED, NOT_YET_VALID, EXPIRED.
    """
    _require_status(license_, now=now)
    if now >= license_.expires_at:
        raise _expired(license_)


def require_usable(license_: License, *, now: int) -> None:
    """Refuse a licence under which no box renews: revoked, suspended, not begun, or over with its grace.

    Raises:
        VerificationError: REVOKED, SUSPENDED, NOT_YET_VALID, EXPIRED.
    """
    _require_status(license_, now=now)
    if now >= grace_end(license_) and license_.at_end is not EndBehaviour.KEEP_RELEASES:
        raise _expired(license_)


def grace_end(license_: License) -> int:
    """From when on nothing is renewed any more."""
    return license_.expires_at + license_.grace_s


def _require_status(license_: License, *, now: int) -> None:
    match license_.status:
        case LicenseStatus.REVOKED:
            raise VerificationError(RejectionCode.REVOKED, "the licence has been revoked")
        case LicenseStatus.SUSPENDED:
            raise VerificationError(RejectionCode.SUSPENDED, "the licence is suspended")
        case LicenseStatus.ACTIVE:
            if now < license_.starts_at:
                sentence = "the licence has not begun yet"
                raise VerificationError(RejectionCode.NOT_YET_VALID, sentence, starts_at=license_.starts_at)


def _expired(license_: License) -> VerificationError:
    return VerificationError(RejectionCode.EXPIRED, "the licence has ended", expires_at=license_.expires_at)


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


def require_release(license_: License, tier: Tier, record: ReleaseRecord, manifest: Manifest) -> None:
    """Refuse a release of another product, a test image, a withdrawn one, one below the floor or not covered.

    Raises:
        VerificationError: RELEASE_NOT_ALLOWED, VERSION_BELOW_FLOOR, NOT_ENTITLED; TIER_NOT_ALLOWED where a domain of
            what the licence covers is not opened on such a TPM, and nothing else is left.
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
    if record.withdrawn:
        raise VerificationError(RejectionCode.RELEASE_NOT_ALLOWED, "the release has been withdrawn")
    if version_key(manifest.product_version) < version_key(license_.version_floor):
        raise VerificationError(
            RejectionCode.VERSION_BELOW_FLOOR,
            f"version {manifest.product_version} is below {license_.version_floor}, the lowest that is allowed",
            expected=license_.version_floor,
            found=manifest.product_version,
        )
    if license_.at_end is EndBehaviour.KEEP_RELEASES and record.imported_at >= license_.expires_at:
        raise VerificationError(
            RejectionCode.RELEASE_NOT_ALLOWED,
            "the release is from after the licence's end; the licence keeps those from before",
        )
    if covered(license_, tier, manifest):
        return
    listed = _listed(license_, manifest)
    if not listed:
        raise VerificationError(
            RejectionCode.NOT_ENTITLED,
            "the licence covers no payload of this release",
            expected=license_.partitions or license_.domains,
            found=",".join(payload.payload_id for payload in manifest.payloads),
        )
    raise next(refusal for one in listed if (refusal := _domain_refusal(license_, tier, manifest, one)) is not None)


def covered(license_: License, tier: Tier, manifest: Manifest) -> list[Payload]:
    """Payloads that are opened under the licence on a TPM of the tier: what it lists, where the domain lets them."""
    return [one for one in _listed(license_, manifest) if _domain_refusal(license_, tier, manifest, one) is None]


def _listed(license_: License, manifest: Manifest) -> list[Payload]:
    """By their ids and their domains."""
    return [
        payload
        for payload in manifest.payloads
        if _is_listed(license_.partitions, payload.payload_id) and _is_listed(license_.domains, payload.domain)
    ]


def _domain_refusal(license_: License, tier: Tier, manifest: Manifest, payload: Payload) -> VerificationError | None:
    """Why a payload's domain does not let it be opened; None if it does."""
    opening = next((one.opening for one in manifest.domains if one.name == payload.domain), None)
    if opening is None:
        return None
    if tier not in opening.tiers:
        return VerificationError(
            RejectionCode.TIER_NOT_ALLOWED,
            f"domain {payload.domain} of {payload.payload_id} is not opened on a TPM of tier {tier}",
            expected=",".join(opening.tiers),
            found=str(tier),
        )
    if missing := set(opening.features).difference(license_.features.split(",")):
        return VerificationError(
            RejectionCode.NOT_ENTITLED,
            f"domain {payload.domain} of {payload.payload_id} demands features that the licence has not",
            expected=joined(opening.features),
            found=joined(set(opening.features) - missing),
        )
    return None


def joined(names: Iterable[str]) -> str:
    """Names as a field holds them."""
    return ",".join(sorted(set(names)))


def _is_listed(names: str, name: str) -> bool:
    """Whether a field that lists names, and all if it is empty, has this one."""
    return not names or name in names.split(",")


def narrows(before: License, after: License) -> bool:
    """Whether a change takes something away that a reply may have granted: a tier, a payload, test images."""
    lists = ((before.tiers, after.tiers), (before.partitions, after.partitions), (before.domains, after.domains))
    return (before.allow_test_images and not after.allow_test_images) or any(
        now and (not was or not set(was.split(",")) <= set(now.split(","))) for was, now in lists
    )


def require_not_held(device: Device) -> None:
    """Refuse a device whose TPM's state was put back, or that is said to be two.

    Raises:
        VerificationError: the code of the hold.
    """
    if device.status is DeviceStatus.HELD:
        raise VerificationError(
            RejectionCode(device.held_code or RejectionCode.ROLLED_BACK),
            f"the device is held until the operator resumes it: {device.held_because}",
        )
