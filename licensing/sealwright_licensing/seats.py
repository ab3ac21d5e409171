"""Seats: one live device per TPM, no more devices than seats.

Called inside the deciding transaction; what they read still holds when it commits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from sealwright_licensing.records import Device, DeviceStatus, License, Overage, PendingEnrollment, TickLedger
from sealwright_licensing.store import Transaction
from sealwright_policies.errors import RejectionCode, VerificationError


def devices_of_tpm(transaction: Transaction, device_id: str, ak_public: bytes, srk_public: bytes) -> list[Device]:
    """Devices that are the same TPM: of this EK, this AK or this SRK.

    A maker may certify two EKs of one TPM, and each would be a device of its own. AK and SRK are primary keys: the
    measured agent makes the same AK from the TPM's endorsement seed whichever EK it shows, and the SRK, by whose Name
    leases are bound, comes from the storage seed. The seeds are random, so no two TPMs have a key in common.
    """
    own = transaction.get(Device, device_id)
    found = [
        *([own] if own else []),
        *transaction.find(Device, ak_public=ak_public),
        *transaction.find(Device, srk_public=srk_public),
    ]
    return list({device.device_id: device for device in found}.values())


def charged_before(transaction: Transaction, pending: PendingEnrollment) -> int:
    """Ticks that earlier enrolments of this TPM have used up under the licence.

    The ledger of each began with the charges of the one before, so the highest is the sum.
    """
    known = devices_of_tpm(transaction, pending.device_id, pending.ak_public, pending.srk_public)
    ids = {pending.device_id, *(device.device_id for device in known)}
    ledgers = (transaction.get(TickLedger, pending.license_id, device_id) for device_id in ids)
    return max((ledger.charged_ticks for ledger in ledgers if ledger), default=0)


_OCCUPYING = tuple(status for status in DeviceStatus if status is not DeviceStatus.RETIRED)


def require_free_seat(
    transaction: Transaction, license_: License, same_tpm: Iterable[Device], *, leaving: Device | None = None
) -> int:
    """One live device per TPM, and no more devices than seats.

    Args:
        same_tpm: of :func:`devices_of_tpm`.
        leaving: a live device that is retired when the new one enrols.

    Returns:
        Seats that are taken with the new device.

    Raises:
        VerificationError: TOO_MANY_DEVICES.
    """
    for known in _live(one for one in same_tpm if leaving is None or one.device_id != leaving.device_id):
        raise VerificationError(
            RejectionCode.TOO_MANY_DEVICES,
            f"this TPM is enrolled already, under licence {known.license_id}; "
            "the operator must retire that device first",
        )
    taken, limit = seats_taken(transaction, license_.license_id) - (leaving is not None), seat_limit(license_)
    if limit is not None and taken >= limit:
        raise VerificationError(
            RejectionCode.TOO_MANY_DEVICES,
            f"all {limit} seats of the licence are taken",
            expected=limit,
            found=taken + 1,
        )
    return taken + 1


def seats_taken(transaction: Transaction, license_id: str) -> int:
    """Devices that occupy a seat of a licence."""
    return sum(transaction.count(Device, license_id=license_id, status=status) for status in _OCCUPYING)


def seats_taken_of(transaction: Transaction, license_ids: Sequence[str]) -> Counter[str]:
    """The same for several licences, in as many statements as for one."""
    taken = Counter[str]()
    for status in _OCCUPYING:
        taken.update(transaction.count_by(Device, "license_id", license_ids, status=status.value))
    return taken


def seat_limit(license_: License) -> int | None:
    """Most devices that may be enrolled, overage included; None: as many as come."""
    match license_.overage:
        case Overage.NONE:
            return license_.seats
        case Overage.QUARTER:
            return license_.seats * 5 // 4
        case Overage.HALF:
            return license_.seats * 3 // 2
        case Overage.DOUBLE:
            return license_.seats * 2
        case Overage.UNLIMITED:
            return None


def overage_seats(license_: License, taken: int) -> int:
    """Devices beyond the licence's seats."""
    return max(0, taken - license_.seats)


def _live(devices: Iterable[Device]) -> Sequence[Device]:
    return [device for device in devices if device.status is not DeviceStatus.RETIRED]
