"""Releases in the log: entered at import, and proved in every lease (policies/spec/transparency.md, 6)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sealwright_licensing.records import LogEntryRecord
from sealwright_licensing.row_changes import queue_item
from sealwright_licensing.sequencer import newest_checkpoint, node_reader
from sealwright_licensing.store import Store, Transaction
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.transparency.entries import ReleaseEntry, parse_entry, release_entry
from sealwright_policies.transparency.merkle import inclusion_proof, nodes_of_inclusion
from sealwright_policies.transparency.release_proof import ReleaseProof

KEPT_S = 900.0
"""A proof is made anew after so long, so that leases carry a checkpoint that is not much older."""
MOST_KEPT = 256


@dataclass(frozen=True, slots=True)
class ReleaseProofs:
    """Proofs of releases, each made once in a while: a renewal reads nothing for it."""

    store: Store
    clock: Callable[[], float] = time.monotonic
    _kept: dict[str, tuple[ReleaseProof, float]] = field(default_factory=dict)

    def of(self, release_id: str) -> ReleaseProof:
        """The proof that a release is in the log.

        Raises:
            VerificationError: RELEASE_NOT_LOGGED.
        """
        proof, at = self._kept.get(release_id, (None, 0.0))
        now = self.clock()
        if proof is not None and now - at < KEPT_S:
            return proof
        with self.store.read() as transaction:
            made = prove_release(transaction, release_id)
        if made is None:
            raise VerificationError(
                RejectionCode.RELEASE_NOT_LOGGED,
                f"release {release_id[:16]} is not under a signed checkpoint of the service's log; import it again",
            )
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[release_id] = (made, now)
        return made


def enter_release(transaction: Transaction, release_id: str, product: str, product_version: str) -> None:
    """Have a release entered in the log, unless it is there."""
    if not transaction.find(LogEntryRecord, limit=1, entry_kind="release", subject=release_id):
        transaction.add(queue_item(release_entry(release_id, product, product_version)))


def prove_release(transaction: Transaction, release_id: str) -> ReleaseProof | None:
    """The proof under the newest checkpoint; None if the release is not under it."""
    found = transaction.find(LogEntryRecord, limit=1, entry_kind="release", subject=release_id)
    checkpoint = newest_checkpoint(transaction)
    if not found or checkpoint is None or found[0].entry_index >= checkpoint.size:
        return None
    entry = _parsed(found[0].leaf)
    index = found[0].entry_index
    read = node_reader(transaction, nodes_of_inclusion(index, checkpoint.size))
    path = inclusion_proof(read, index, checkpoint.size)
    return ReleaseProof(
        product=entry.product,
        product_version=entry.product_version,
        index=index,
        path=[one.hex() for one in path],
        checkpoint=checkpoint.note,
    )


def _parsed(leaf: bytes) -> ReleaseEntry:
    entry = parse_entry(leaf)
    if not isinstance(entry, ReleaseEntry):
        raise FormatError("Log entry: not of a release.")
    return entry
