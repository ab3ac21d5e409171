"""Denials before anything is proven: in journal and log like all, and so many a day for all of them together.

Of enrolments, renewals and reports alike. What is beyond the bound is counted, and the next one that is recorded says
how many there were. What an operator brings as a file is recorded always.
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


def named_claims(device_id: str, license_id: str) -> str:
    """What a message about an enrolled device says of itself; both ids are for everybody to read."""
    return f"The message names device {device_id} and licence {license_id}."


def record_stranger_denial(
    store: Store,
    limit: DecisionLimit | None,
    denial: VerificationError,
    *,
    purpose: Purpose,
    claims: str,
    now: int,
    license_id: str = "",
) -> None:
    """Record a denial, as far as the day's bound allows.

    Args:
        limit: None for what an operator brings.
        license_id: of an activation code that the message knows; a licence that it only names is a claim.
        claims: who it says it is, as far as that can be told.
    """
    left_out = limit.admit_stranger(now=now) if limit else 0
    if left_out is None:
        return
    not_recorded = f"{left_out} denials before this one were not recorded." if left_out else ""
    with store.write(device_name(NOBODY)) as transaction:
        journal.record_decision(
            transaction,
            device_id=NOBODY,
            license_id=license_id,
            purpose=purpose,
            denial=denial,
            result=None,
            now=now,
            words="\n".join(filter(None, (claims, not_recorded))),
        )
