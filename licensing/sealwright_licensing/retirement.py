"""The end of an enrolment (policies/spec/enrollment.md, 5): the seat is free, what was granted counts as used."""

from __future__ import annotations

from dataclasses import replace

from sealwright_licensing.baselines import outstanding_end
from sealwright_licensing.records import (
    Device,
    DeviceFirmware,
    DeviceRelease,
    DeviceStatus,
    EnrollmentReply,
    NextNonce,
    RenewalReply,
    TickLedger,
)
from sealwright_licensing.store import Transaction


def used_ticks(device: Device) -> int:
    """Ticks that a device's enrolments have used up if it ends now, its whole outstanding lease included."""
    return device.charged_ticks + outstanding_end(device) - device.first_ticks


def retire(transaction: Transaction, device: Device) -> Device:
    """Retire a live or held device."""
    transaction.put(TickLedger(device.license_id, device.device_id, used_ticks(device)))
    for kind in (RenewalReply, NextNonce, DeviceRelease, EnrollmentReply, DeviceFirmware):
        transaction.delete(kind, device_id=device.device_id)
    changed = replace(device, status=DeviceStatus.RETIRED, revision=device.revision + 1)
    transaction.put(changed)
    return changed
