"""Operations on the service itself (policies/spec/licence.md, 7)."""

from __future__ import annotations

from sealwright_licensing.actors import Actor
from sealwright_licensing.journal import record_operation
from sealwright_licensing.records import ServiceTime
from sealwright_licensing.service_time import NAME
from sealwright_licensing.store import Store


def reset_service_time(store: Store, actor: Actor, *, now: int) -> int:
    """Make the present time the latest that was seen, after a clock that was ahead; returns the one before.

    Running processes remember the later time until they are started again.
    """
    with store.write() as transaction:
        seen = transaction.get(ServiceTime, NAME)
        before = seen.at if seen else now
        transaction.put(ServiceTime(NAME, now))
        record_operation(
            transaction, actor=actor, operation="service.reset-time", subject=NAME, detail={"was": before}, now=now
        )
    return before
