"""Denials of those who have proven nothing: in journal and log like all, and so many a day for all of them together.

What is beyond the bound is counted, and the next one that is recorded says how many there were.
"""

from __future__ import annotations

from sealwright_licensing import journal
from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.locks import device_name
from sealwright_licensing.store import Store
from sealwright_policies.errors import VerificationError
from sealwright_policies.wire.messages import Purpose

NOBODY = ""
"""In the place of a device's id: strangers must not push a device's own decisions out of the journal."""


def record_stranger_denial(
    store: Store, limit: DecisionLimit, denial: VerificationError, *, license_id: str, claims: str, now: int
) -> None:
    """Record the denial of a step of an enrolment, as far as the day's bound allows.

    Args:
        license_id: of the activation code; empty if that is none.
        claims: who it says it is, as far as that can be told.
    """
    left_out = limit.admit_stranger(now=now)
    if left_out is None:
        return
    not_recorded = f"{left_out} denials before this one were not recorded." if left_out else ""
    with store.write(device_name(NOBODY)) as transaction:
        journal.record_decision(
            transaction,
            device_id=NOBODY,
            license_id=license_id,
            purpose=Purpose.ENROLL,
            denial=denial,
            result=None,
            now=now,
            words="\n".join(filter(None, (claims, not_recorded))),
        )
