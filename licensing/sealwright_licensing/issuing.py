"""Issuing licences and activation codes, and moving a licence's version floor."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace

from sealwright_licensing.activation_codes import code_hash, new_activation_code
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.leases import DAY_S, tick_budget
from sealwright_licensing.records import ActivationCodeRecord, Device, License, LicenseStatus, RenewalReply
from sealwright_licensing.store import Store, Transaction
from sealwright_policies.appraisal.reference_values import version_key
from sealwright_policies.errors import RejectionCode, UsageError, VerificationError

DEFAULT_LEASE_DAYS = 30
DEFAULT_MAX_REQUEST_S = 600
CONTACT_S = DAY_S
"""Contact interval, or a quarter of the lease if that is shorter."""


def new_license(
    *,
    product: str,
    seats: int,
    days: int,
    tiers: Iterable[Tier],
    lease_days: int = DEFAULT_LEASE_DAYS,
    renew_after_s: int | None = None,
    version_floor: str = "0",
    allow_test_images: bool = False,
    note: str = "",
    now: int,
) -> License:
    """A licence that begins now. Its tick budget lets a box run all the time."""
    return License(
        license_id=f"lic-{secrets.token_hex(6)}",
        product=product,
        seats=seats,
        tiers=",".join(sorted(tier.value for tier in set(tiers))),
        issued_at=now,
        expires_at=now + days * DAY_S,
        lease_s=lease_days * DAY_S,
        renew_after_s=renew_after_s or min(CONTACT_S, lease_days * DAY_S // 4),
        max_request_s=DEFAULT_MAX_REQUEST_S,
        tick_budget=tick_budget(days * DAY_S),
        version_floor=version_floor,
        allow_test_images=allow_test_images,
        status=LicenseStatus.ACTIVE,
        note=note,
    )


def issue_license(store: Store, license_: License) -> list[str]:
    """Store a licence with an activation code for each seat; returns the codes, which are stored nowhere."""
    codes = [new_activation_code() for _ in range(license_.seats)]
    with store.write() as transaction:
        transaction.add(license_)
        for code in codes:
            transaction.add(_record(code, license_.license_id, license_.issued_at))
    return codes


def add_activation_code(store: Store, license_id: str, *, now: int) -> str:
    """Draw one more code, e.g. for a box that replaces a retired one; seats stay as they are.

    Raises:
        VerificationError: LICENSE_UNKNOWN.
    """
    code = new_activation_code()
    with store.write() as transaction:
        _license(transaction, license_id)
        transaction.add(_record(code, license_id, now))
    return code


def set_version_floor(store: Store, license_id: str, version: str, *, lower: bool = False) -> License:
    """Move the lowest version that a licence allows; it counts from each box's next renewal on.

    Replies that are kept for repetition hold leases that were decided under the old floor, so they go.

    Args:
        lower: whether versions that were refused are to be allowed again.

    Raises:
        VerificationError: LICENSE_UNKNOWN.
        UsageError: the version is lower, and nobody said so.
    """
    with store.write() as transaction:
        license_ = _license(transaction, license_id)
        if version_key(version) < version_key(license_.version_floor) and not lower:
            raise UsageError(
                f"The floor of {license_id} is {license_.version_floor}; {version} would allow older versions again. "
                "Give --lower if you mean that."
            )
        changed = replace(license_, version_floor=version)
        transaction.put(changed)
        for device in transaction.find(Device, license_id=license_id):
            transaction.delete(RenewalReply, device_id=device.device_id)
    return changed


def _license(transaction: Transaction, license_id: str) -> License:
    license_ = transaction.get(License, license_id)
    if license_ is None:
        raise VerificationError(RejectionCode.LICENSE_UNKNOWN, f"there is no licence {license_id}")
    return license_


def _record(code: str, license_id: str, now: int) -> ActivationCodeRecord:
    return ActivationCodeRecord(code_hash(code), license_id, now, None, None)
