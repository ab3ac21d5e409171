"""Removal of what has run out: replay records, enrolments that nobody ended, results that nobody fetches any more."""

from __future__ import annotations

from sealwright_licensing.locks import EXPIRY
from sealwright_licensing.records import EnrollmentReply, PendingEnrollment, SpentNonce
from sealwright_licensing.store import Store

INTERVAL_S = 60
"""So often, by each process for itself; nothing is decided by whether a record is gone already."""
SLACK_S = 3600
"""What ran out is kept so much longer: another process's clock may go slow, and must still find a nonce spent."""


class Expiry:
    """Prunes now and then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pruned_at = 0

    def prune(self, *, now: int) -> None:
        """Remove what has run out, if it is time. Called when a decision is committed, never within its transaction.

        Raises:
            OperationError: the database refuses.
        """
        if 0 <= now - self._pruned_at < INTERVAL_S:
            return
        self._pruned_at = now
        with self._store.write(EXPIRY) as transaction:
            for kind in (SpentNonce, PendingEnrollment, EnrollmentReply):
                transaction.delete_expired(kind, now - SLACK_S)
