"""The journal: decisions about devices, with the appraisal behind each, and what operators have done."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping

from sealwright_licensing.actors import Actor
from sealwright_licensing.records import Decision, Operation
from sealwright_licensing.store import Transaction, Value
from sealwright_policies.appraisal.result import AttestationResult, describe, to_ear
from sealwright_policies.errors import VerificationError
from sealwright_policies.wire.messages import Purpose

OK = "ok"
MOST_PER_DEVICE, KEPT_PER_DEVICE = 150, 100
"""At so many decisions about a device for one purpose the oldest are dropped: a box must not be able to fill the disk,
nor to push its enrolment out by other messages."""
PRUNED_EVERY = 32
"""Grants of a device after which its records are counted, at each revision that this divides; and at every denial."""


def drop_oldest(transaction: Transaction, kind: type[object], field: str, *, most: int, kept: int, **of: Value) -> None:
    """Drop the oldest of some records if there are ``most``.

    Args:
        field: when a record was made; those of one second stay or go together.
        kept: how many stay at least.
        of: fields that all of them have, the device's id among them.
    """
    if transaction.count(kind, **of) >= most:
        newest = transaction.find(kind, newest_first=field, limit=kept, **of)
        transaction.delete_below(kind, field, getattr(newest[-1], field), **of)


def record_decision(
    transaction: Transaction,
    *,
    device_id: str,
    license_id: str,
    purpose: Purpose,
    denial: VerificationError | None,
    result: AttestationResult | None,
    now: int,
    revision: int = 0,
    words: str = "",
) -> str:
    """Add a decision to the journal; returns its id.

    Args:
        device_id: empty for somebody who has proven nothing.
        denial: None for a grant, which gives the device the revision.
        words: what is to be said where there is no appraisal.
    """
    if revision % PRUNED_EVERY == 0:
        drop_oldest(
            transaction, Decision, "decided_at", most=MOST_PER_DEVICE, kept=KEPT_PER_DEVICE,
            device_id=device_id, purpose=purpose.value,
        )  # fmt: skip
    decision_id = _new_id()
    transaction.add(
        Decision(
            decision_id=decision_id,
            device_id=device_id,
            license_id=license_id,
            purpose=purpose.value,
            code=denial.code.value if denial else OK,
            sentence=str(denial).removeprefix(f"{denial.code}: ") if denial else "",
            result=json.dumps(to_ear(result), separators=(",", ":")) if result else "",
            words="\n".join(describe(result)) if result else words,
            decided_at=now,
        )
    )
    return decision_id


def record_operation(
    transaction: Transaction,
    *,
    actor: Actor,
    operation: str,
    subject: str,
    detail: Mapping[str, object] | None = None,
    now: int,
) -> None:
    """Add an operation to the journal, in the transaction that carries it out.

    Args:
        operation: e.g. "license.revoke".
        subject: id of the licence, device or release.
        detail: what was changed; never a code, key or token.
    """
    transaction.add(
        Operation(
            operation_id=_new_id(),
            actor_kind=actor.kind.value,
            actor=actor.name,
            operation=operation,
            subject=subject,
            detail=json.dumps(detail or {}, separators=(",", ":"), sort_keys=True),
            performed_at=now,
        )
    )


def last_decision(transaction: Transaction, device_id: str) -> Decision | None:
    """The newest decision about a device."""
    found = transaction.find(Decision, newest_first="decided_at", limit=1, device_id=device_id)
    return found[0] if found else None


def last_codes(transaction: Transaction, device_ids: Iterable[str]) -> dict[str, str]:
    """The code of the newest decision about each of these devices, in one statement."""
    return transaction.newest_by(Decision, "device_id", device_ids, order="decided_at", wanted="code")


def _new_id() -> str:
    """An id that begins with the time in nanoseconds: what is journalled in one second has an order."""
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"
