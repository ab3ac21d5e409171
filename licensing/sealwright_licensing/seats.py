"""Seats: one live device per EK, no more devices than seats.

Called inside the deciding transaction; what they read still holds when it commits.
"""

from __future__ import annotations

from sealwright_licensing.records import Device, DeviceStatus, License
from sealwright_licensing.store import Transaction
from sealwright_policies.errors import RejectionCode, VerificationError


def require_free_seat(transaction: Transaction, license_: License, device_id: str) -> None:
    """One live device per EK, and no more devices than seats.

    Raises:
        VerificationError: TOO_MANY_DEVICES.
    """
    known = transaction.get(Device, device_id)
    if known is not None and known.status is not DeviceStatus.RETIRED:
        raise VerificationError(
            RejectionCode.TOO_MANY_DEVICES,
            f"this TPM is enrolled already, under licence {known.license_id}; "
            "the operator must retire that device first",
        )
    devices = transaction.find(Device, license_id=license_.license_id)
    taken = sum(device.status is not DeviceStatus.RETIRED for device in devices)
    if taken >= license_.seats:
        raise VerificationError(
            RejectionCode.TOO_MANY_DEVICES,
            f"all {license_.seats} seats of the licence are taken",
            expected=license_.seats,
            found=taken + 1,
        )
