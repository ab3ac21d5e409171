"""Operations on licences (policies/spec/licence.md, 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sealwright_licensing.activation_codes import code_hash, new_activation_code
from sealwright_licensing.actors import Actor
from sealwright_licensing.journal import record_operation
from sealwright_licensing.licenses import narrows
from sealwright_licensing.operations import terms
from sealwright_licensing.operations.terms import TermChanges
from sealwright_licensing.records import (
    ActivationCodeRecord,
    Device,
    EnrollmentReply,
    License,
    LicenseStatus,
    RenewalReply,
)
from sealwright_licensing.store import Store, Transaction, query
from sealwright_policies.appraisal.reference_values import version_key
from sealwright_policies.errors import RejectionCode, UsageError, VerificationError


def issue_license(store: Store, actor: Actor, license_: License, *, now: int) -> list[str]:
    """Store a licence with an activation code for each seat; returns the codes, which are stored nowhere."""
    codes = [new_activation_code() for _ in range(license_.seats)]
    detail = {"product": license_.product, "seats": license_.seats, "expires_at": license_.expires_at}
    with store.write() as transaction:
        transaction.add(license_)
        for code in codes:
            transaction.add(code_record(code, license_.license_id, now))
        _record(transaction, actor, "issue", license_.license_id, detail=detail, now=now)
    return codes


def add_activation_code(store: Store, actor: Actor, license_id: str, *, now: int) -> str:
    """Draw one more code, e.g. for a box that replaces a retired one; seats stay as they are.

    Raises:
        VerificationError: LICENSE_UNKNOWN.
    """
    code = new_activation_code()
    with store.write() as transaction:
        known_license(transaction, license_id)
        transaction.add(code_record(code, license_id, now))
        _record(transaction, actor, "add-code", license_id, detail={}, now=now)
    return code


def renew_license(
    store: Store, actor: Actor, license_id: str, *, days: int, powered_on_hours: int | None = None, now: int
) -> License:
    """Move a licence's end by its renewal basis, and add the running time of that duration to its budget.

    Args:
        powered_on_hours: running time to add; None: all the time.

    Raises:
        VerificationError: LICENSE_UNKNOWN.
        UsageError: as :func:`.terms.renewed`.
    """
    with store.write() as transaction:
        license_ = known_license(transaction, license_id)
        changed = terms.renewed(license_, days=days, powered_on_hours=powered_on_hours, now=now)
        transaction.put(changed)
        detail = {"expires_at": changed.expires_at, "tick_budget": changed.tick_budget}
        _record(transaction, actor, "renew", license_id, detail=detail, now=now)
    return changed


def change_terms(store: Store, actor: Actor, license_id: str, changes: TermChanges, *, now: int) -> License:
    """Change terms; boxes take them up with their next renewal.

    Replies that are kept for repetition hold leases under the old terms, so they go; those of enrolments only if a
    right is taken away, since a box that has lost one could not activate.

    Raises:
        VerificationError: LICENSE_UNKNOWN.
        UsageError: as :func:`.terms.changed`.
    """
    with store.write() as transaction:
        license_ = known_license(transaction, license_id)
        changed = terms.changed(license_, changes)
        transaction.put(changed)
        _forget_replies(transaction, license_id, of_enrollments=narrows(license_, changed))
        _record(transaction, actor, "change-terms", license_id, detail=changes.given(), now=now)
    return changed


def suspend_license(store: Store, actor: Actor, license_id: str, *, now: int) -> License:
    """Sign no more leases until the licence is reinstated.

    Raises:
        VerificationError: LICENSE_UNKNOWN.
        UsageError: the licence was revoked before.
    """
    return _set_status(store, actor, license_id, LicenseStatus.SUSPENDED, operation="suspend", now=now)


def reinstate_license(store: Store, actor: Actor, license_id: str, *, now: int) -> License:
    """End a suspension.

    Raises:
        VerificationError: LICENSE_UNKNOWN.
        UsageError: the licence was revoked before.
    """
    return _set_status(store, actor, license_id, LicenseStatus.ACTIVE, operation="reinstate", now=now)


def revoke_license(store: Store, actor: Actor, license_id: str, *, now: int) -> License:
    """Sign no more leases, for ever. With the network up a box knows within one contact interval; cut off, it runs
    until its lease ends.

    Raises:
        VerificationError: LICENSE_UNKNOWN.
    """
    return _set_status(store, actor, license_id, LicenseStatus.REVOKED, operation="revoke", now=now)


def set_version_floor(
    store: Store, actor: Actor, license_id: str, version: str, *, lower: bool = False, now: int
) -> License:
    """Move the lowest version that a licence allows; it counts from each box's next renewal on.

    Replies that are kept for repetition hold leases that were decided under the old floor, so they go.

    Args:
        lower: whether versions that were refused are to be allowed again.

    Raises:
        VerificationError: LICENSE_UNKNOWN.
        UsageError: the version is lower, and nobody said so.
    """
    with store.write() as transaction:
        license_ = known_license(transaction, license_id)
        if version_key(version) < version_key(license_.version_floor) and not lower:
            raise UsageError(
                f"The floor of {license_id} is {license_.version_floor}; {version} would allow older versions again. "
                "Give --lower if you mean that."
            )
        changed = replace(license_, version_floor=version)
        transaction.put(changed)
        _forget_replies(transaction, license_id, of_enrollments=False)
        detail = {"from": license_.version_floor, "to": version}
        _record(transaction, actor, "set-floor", license_id, detail=detail, now=now)
    return changed


def known_license(transaction: Transaction, license_id: str) -> License:
    """The licence with an id.

    Raises:
        VerificationError: LICENSE_UNKNOWN.
    """
    license_ = transaction.get(License, license_id)
    if license_ is None:
        raise VerificationError(RejectionCode.LICENSE_UNKNOWN, f"there is no licence {license_id}")
    return license_


def code_record(code: str, license_id: str, now: int, *, replaces: str = "") -> ActivationCodeRecord:
    """What is stored of a new activation code."""
    return ActivationCodeRecord(code_hash(code), license_id, now, None, None, replaces)


def _set_status(
    store: Store, actor: Actor, license_id: str, status: LicenseStatus, *, operation: str, now: int
) -> License:
    with store.write() as transaction:
        license_ = known_license(transaction, license_id)
        if license_.status is LicenseStatus.REVOKED and status is not LicenseStatus.REVOKED:
            raise UsageError(f"Licence {license_id} was revoked; issue a new one.")
        changed = replace(license_, status=status)
        transaction.put(changed)
        _record(transaction, actor, operation, license_id, detail={"was": license_.status.value}, now=now)
    return changed


def _forget_replies(transaction: Transaction, license_id: str, *, of_enrollments: bool) -> None:
    devices = query(Device, license_id=license_id)
    transaction.delete_owned(RenewalReply, "device_id", devices)
    if of_enrollments:
        transaction.delete_owned(EnrollmentReply, "device_id", devices)


def _record(
    transaction: Transaction, actor: Actor, operation: str, license_id: str, *, detail: Mapping[str, object], now: int
) -> None:
    record_operation(
        transaction, actor=actor, operation=f"license.{operation}", subject=license_id, detail=detail, now=now
    )
