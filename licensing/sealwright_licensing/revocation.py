"""What an operator decides: revoke, suspend and resume licences; withdraw releases; resume and retire devices.

Revoked means: with the network up, within one contact interval; cut off, until the lease ends.
"""

from __future__ import annotations

from dataclasses import replace

from sealwright_licensing.baselines import outstanding_end
from sealwright_licensing.records import (
    Device,
    DeviceRelease,
    DeviceStatus,
    EnrollmentReply,
    License,
    LicenseStatus,
    NextNonce,
    ReleaseRecord,
    RenewalReply,
    TickLedger,
)
from sealwright_licensing.store import Store, Transaction
from sealwright_policies.errors import RejectionCode, UsageError, VerificationError


def set_license_status(store: Store, license_id: str, status: LicenseStatus) -> License:
    """Revoke, suspend or resume a licence; revocation is for ever.

    Raises:
        VerificationError: LICENSE_UNKNOWN.
        UsageError: the licence was revoked before.
    """
    with store.write() as transaction:
        license_ = transaction.get(License, license_id)
        if license_ is None:
            raise VerificationError(RejectionCode.LICENSE_UNKNOWN, f"there is no licence {license_id}")
        if license_.status is LicenseStatus.REVOKED and status is not LicenseStatus.REVOKED:
            raise UsageError(f"Licence {license_id} was revoked; issue a new one.")
        changed = replace(license_, status=status)
        transaction.put(changed)
    return changed


def withdraw_release(store: Store, release_id: str) -> ReleaseRecord:
    """Lease a release no more. Kept replies may hold leases for it and are forgotten; boxes ask again.

    Raises:
        VerificationError: RELEASE_UNKNOWN.
    """
    with store.write() as transaction:
        known = transaction.get(ReleaseRecord, release_id)
        if known is None:
            raise VerificationError(RejectionCode.RELEASE_UNKNOWN, f"there is no release {release_id}")
        changed = replace(known, withdrawn=True)
        transaction.put(changed)
        transaction.delete(RenewalReply)
    return changed


def resume_device(store: Store, device_id: str) -> Device:
    """Let a held device go on from what it showed when it was held (policies/spec/renewal.md, 5).

    The operator has looked into why the TPM's state was put back; the lease that was out then stays charged. A lease
    counter that was put back cannot be resumed: only TPM2_Clear makes an end of the leases above it.

    Raises:
        VerificationError: DEVICE_UNKNOWN.
    """
    with store.write() as transaction:
        device = _device(transaction, device_id)
        changed = replace(
            device,
            status=DeviceStatus.LIVE if device.status is DeviceStatus.HELD else device.status,
            held_because="",
            revision=device.revision + 1,
        )
        transaction.put(changed)
    return changed


def retire_device(store: Store, device_id: str) -> Device:
    """End a device's enrolment: its seat is free, its whole outstanding lease counts as used.

    Raises:
        VerificationError: DEVICE_UNKNOWN.
    """
    with store.write() as transaction:
        device = _device(transaction, device_id)
        used = device.charged_ticks + outstanding_end(device) - device.first_ticks
        transaction.put(TickLedger(device.license_id, device_id, used))
        for kind in (RenewalReply, NextNonce, DeviceRelease, EnrollmentReply):
            transaction.delete(kind, device_id=device_id)
        changed = replace(device, status=DeviceStatus.RETIRED, revision=device.revision + 1)
        transaction.put(changed)
    return changed


def _device(transaction: Transaction, device_id: str) -> Device:
    device = transaction.get(Device, device_id)
    if device is None or device.status is DeviceStatus.RETIRED:
        raise VerificationError(RejectionCode.DEVICE_UNKNOWN, f"there is no live device {device_id}")
    return device
