"""Operations on devices (policies/spec/licence.md, 7 to 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sealwright_licensing.activation_codes import new_activation_code
from sealwright_licensing.actors import Actor
from sealwright_licensing.baselines import stored_pcrs
from sealwright_licensing.clock_histories import chosen_reading, forget_histories
from sealwright_licensing.firmware import firmware_digest
from sealwright_licensing.journal import record_operation
from sealwright_licensing.operations.licenses import code_record, known_license
from sealwright_licensing.records import ActivationCodeRecord, Device, DeviceFirmware, DeviceStatus
from sealwright_licensing.retirement import retire
from sealwright_licensing.store import Store, Transaction
from sealwright_policies.errors import RejectionCode, UsageError, VerificationError


@dataclass(frozen=True, slots=True)
class Transfer:
    """A device that is to be replaced, and the code that the replacement enrols with; it is stored nowhere."""

    device: Device
    activation_code: str


def resume_device(store: Store, actor: Actor, device_id: str, *, history: int | None = None, now: int) -> Device:
    """Let a held device go on from what it showed when it was held (policies/spec/renewal.md, 5 and 6).

    The operator has looked into why the TPM's state was put back; the lease that was out then stays charged. A lease
    counter that was put back cannot be resumed: only TPM2_Clear makes an end of the leases above it.

    Args:
        history: of a device that is said to be two, the one that goes on.

    Raises:
        VerificationError: DEVICE_UNKNOWN.
        UsageError: the device has no such history, or it was cloned and none was named.
    """
    with store.write() as transaction:
        device = _enrolled(transaction, device_id)
        changed = chosen_reading(transaction, device, history)
        forget_histories(transaction, device_id)
        changed = replace(
            changed,
            status=DeviceStatus.LIVE if device.status is DeviceStatus.HELD else device.status,
            held_because="",
            held_code="",
            revision=device.revision + 1,
        )
        transaction.put(changed)
        detail = {"held_for": device.held_code, "history": history}
        _record(transaction, actor, "resume", device_id, detail=detail, now=now)
    return changed


def retire_device(store: Store, actor: Actor, device_id: str, *, now: int) -> Device:
    """End a device's enrolment: its seat is free, its whole outstanding lease counts as used.

    Raises:
        VerificationError: DEVICE_UNKNOWN.
    """
    with store.write() as transaction:
        changed = retire(transaction, _enrolled(transaction, device_id))
        _withdraw_transfers(transaction, changed)
        _record(transaction, actor, "retire", device_id, detail={"license_id": changed.license_id}, now=now)
    return changed


def transfer_device(store: Store, actor: Actor, device_id: str, *, at_once: bool = False, now: int) -> Transfer:
    """Draw an activation code for a box that takes a device's place (policies/spec/licence.md, 8).

    Args:
        at_once: retire the device now, and not when the code is spent. It may be lost or broken.

    Raises:
        VerificationError: DEVICE_UNKNOWN, LICENSE_UNKNOWN.
    """
    code = new_activation_code()
    with store.write() as transaction:
        device = _enrolled(transaction, device_id)
        known_license(transaction, device.license_id)
        _withdraw_transfers(transaction, device)  # of several replacements one would be too many
        transaction.add(code_record(code, device.license_id, now, replaces=device_id))
        changed = retire(transaction, device) if at_once else device
        _record(transaction, actor, "transfer", device_id, detail={"at_once": at_once}, now=now)
    return Transfer(changed, code)


def approve_firmware(store: Store, actor: Actor, device_id: str, digest: str, *, now: int) -> Device:
    """Approve the changed firmware that a device has shown; its next evidence pins it (policies/spec/licence.md, 9).

    Args:
        digest: of the values, as ``device show`` gives it: exactly these are approved.

    Raises:
        VerificationError: DEVICE_UNKNOWN; FIRMWARE_CHANGED: the device has shown other values, or none.
    """
    with store.write() as transaction:
        device = _enrolled(transaction, device_id)
        firmware = transaction.get(DeviceFirmware, device_id)
        shown = stored_pcrs(firmware.shown_pcrs) if firmware else {}
        if not shown or firmware is None:
            raise UsageError(f"Device {device_id} has shown no changed firmware.")
        if firmware_digest(shown) != digest:
            raise VerificationError(
                RejectionCode.FIRMWARE_CHANGED,
                f"the device has shown {firmware_digest(shown)} and not {digest}; look at what changed before you "
                "approve it",
                expected=digest,
                found=firmware_digest(shown),
            )
        changed = replace(device, approved_pcrs=firmware.shown_pcrs, revision=device.revision + 1)
        transaction.put(changed)
        _record(transaction, actor, "approve-firmware", device_id, detail={"digest": digest, "pcrs": shown}, now=now)
    return changed


def _enrolled(transaction: Transaction, device_id: str) -> Device:
    device = transaction.get(Device, device_id)
    if device is None or device.status is DeviceStatus.RETIRED:
        raise VerificationError(RejectionCode.DEVICE_UNKNOWN, f"there is no live device {device_id}")
    return device


def _withdraw_transfers(transaction: Transaction, device: Device) -> None:
    for code in transaction.find(ActivationCodeRecord, license_id=device.license_id, replaces=device.device_id):
        if code.spent_at is None:
            transaction.delete(ActivationCodeRecord, code_hash=code.code_hash)


def _record(
    transaction: Transaction, actor: Actor, operation: str, device_id: str, *, detail: Mapping[str, object], now: int
) -> None:
    record_operation(
        transaction, actor=actor, operation=f"device.{operation}", subject=device_id, detail=detail, now=now
    )
