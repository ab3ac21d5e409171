"""What an enrolment is decided by (policies/spec/enrollment.md): licence, release, and whom the device replaces.

Read inside a transaction. A grant stands if the transaction that stores it reads what it was prepared from.
"""

from __future__ import annotations

from dataclasses import dataclass

from sealwright_licensing.endorsement import Tier
from sealwright_licensing.licenses import require_enrollable, require_release, require_tier
from sealwright_licensing.records import (
    ActivationCodeRecord,
    Device,
    DeviceStatus,
    License,
    PendingEnrollment,
    ReleaseRecord,
    ReleaseShares,
    TickLedger,
)
from sealwright_licensing.retirement import used_ticks
from sealwright_licensing.seats import charged_before
from sealwright_licensing.store import Transaction
from sealwright_licensing.stored_releases import stored_release
from sealwright_policies.errors import RejectionCode, VerificationError


@dataclass(frozen=True, slots=True)
class EnrollmentBasis:
    """What the decision about a proof hangs on."""

    license_: License
    record: ReleaseRecord
    shares: tuple[ReleaseShares, ...]
    charged_ticks: int
    """Ticks that earlier enrolments of this TPM, or the device that it replaces, have used up."""
    replaces: str
    """Id of the device whose place this one takes, or empty."""
    replaced: Device | None
    """That device while it is live."""


def license_of_code(transaction: Transaction, hashed: str) -> License:
    """The licence of an activation code, by the code's hash.

    Raises:
        VerificationError: ACTIVATION_CODE_INVALID.
    """
    code = transaction.get(ActivationCodeRecord, hashed)
    license_ = transaction.get(License, code.license_id) if code else None
    if license_ is None:
        raise VerificationError(RejectionCode.ACTIVATION_CODE_INVALID, "no licence has this activation code")
    return license_


def known_release(transaction: Transaction, release_id: str) -> ReleaseRecord:
    """A release that was imported.

    Raises:
        VerificationError: RELEASE_UNKNOWN.
    """
    record = transaction.get(ReleaseRecord, release_id)
    if record is None:
        raise VerificationError(
            RejectionCode.RELEASE_UNKNOWN, f"release {release_id[:16]} has not been imported into this service"
        )
    return record


def enrollment_basis(transaction: Transaction, pending: PendingEnrollment, *, now: int) -> EnrollmentBasis:
    """Look it up, and demand that licence, tier and release are allowed.

    Raises:
        VerificationError: the denial.
    """
    license_ = transaction.get(License, pending.license_id)
    if license_ is None:
        raise VerificationError(RejectionCode.LICENSE_UNKNOWN, "the licence is gone")
    require_enrollable(license_, now=now)
    require_tier(license_, Tier(pending.tier))
    code = transaction.get(ActivationCodeRecord, pending.code_hash)
    record = known_release(transaction, pending.release_id)
    require_release(license_, Tier(pending.tier), record, stored_release(record).manifest)
    return EnrollmentBasis(
        license_=license_,
        record=record,
        shares=tuple(transaction.find(ReleaseShares, release_id=record.release_id)),
        charged_ticks=max(charged_before(transaction, pending), _charged_to(transaction, code)),
        replaces=code.replaces if code else "",
        replaced=replaced_device(transaction, code),
    )


def replaced_device(transaction: Transaction, code: ActivationCodeRecord | None) -> Device | None:
    """The device that is retired when a code is spent, unless it is already, or has been enrolled anew since."""
    if code is None or not code.replaces or code.spent_at is not None:
        return None
    device = transaction.get(Device, code.replaces)
    if device is None or device.status is DeviceStatus.RETIRED or device.license_id != code.license_id:
        return None
    return device if device.enrolled_at <= code.created_at else None


def _charged_to(transaction: Transaction, code: ActivationCodeRecord | None) -> int:
    """Ticks that the device which a code replaces has used up, its outstanding lease included."""
    if code is None or not code.replaces:
        return 0
    live = replaced_device(transaction, code)
    if live is not None:
        return used_ticks(live)
    ledger = transaction.get(TickLedger, code.license_id, code.replaces)
    return ledger.charged_ticks if ledger else 0
