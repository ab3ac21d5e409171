"""Operations on releases (policies/spec/licence.md, 7)."""

from __future__ import annotations

from dataclasses import replace

from sealwright_licensing.actors import Actor
from sealwright_licensing.journal import record_operation
from sealwright_licensing.records import ReleaseRecord, RenewalReply
from sealwright_licensing.store import Store
from sealwright_policies.errors import RejectionCode, VerificationError


def withdraw_release(store: Store, actor: Actor, release_id: str, *, now: int) -> ReleaseRecord:
    """Retire a release: lease it no more. Kept replies may hold leases for it and are forgotten; boxes ask again.

    Raises:
        VerificationError: RELEASE_UNKNOWN.
    """
    with store.write() as transaction:
        known = transaction.get(ReleaseRecord, release_id)
        if known is None:
            raise VerificationError(RejectionCode.RELEASE_UNKNOWN, f"there is no release {release_id}")
        changed = replace(known, withdrawn=True)
        transaction.put(changed)
        transaction.delete(RenewalReply)
        detail = {"product": known.product, "version": known.version}
        record_operation(
            transaction, actor=actor, operation="release.withdraw", subject=release_id, detail=detail, now=now
        )
    return changed
