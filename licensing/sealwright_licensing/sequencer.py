"""The sequencer: gives waiting entries their numbers, extends the tree, signs a checkpoint (transparency.md, 5).

One batch is one transaction that holds the log's lock, so that there is one sequencer at a time for a database, and a
process that is killed leaves a whole batch or none. Everything that appending needs is read from the database, and
believed by the signature of the checkpoint there. What this does not do: tell a database that was taken back to an
earlier checkpoint while no process of the service ran from one that was restored from its backup; a checkpoint that
somebody has kept does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealwright_licensing.locks import LOG
from sealwright_licensing.logs import logger
from sealwright_licensing.records import LogCheckpoint, LogEntryRecord, LogNode, LogQueueItem
from sealwright_licensing.row_changes import log_key_entry, queue_item
from sealwright_licensing.store import Store, Transaction, query
from sealwright_policies.errors import FormatError, OperationError, RejectionCode, VerificationError
from sealwright_policies.transparency.checkpoint import (
    Checkpoint,
    key_id,
    last_key_id,
    log_origin,
    sign_checkpoint,
    verify_checkpoint,
)
from sealwright_policies.transparency.entries import is_log_key_entry
from sealwright_policies.transparency.key_schedule import key_fingerprint
from sealwright_policies.transparency.merkle import (
    Frontier,
    ReadNode,
    consistency_proof,
    frontier_of,
    leaf_hash,
    nodes_of_consistency,
    verify_consistency,
)

INTERVAL_S = 1.0
"""How often a service that runs looks for waiting entries."""
BATCH = 512
"""Entries of one transaction: on SQLite, deciding waits for it."""
CHECKPOINT_EVERY = 4096
"""The last checkpoint of so many entries is kept, and the newest."""


@dataclass(slots=True)
class Sequencer:
    """Appends to the log of one service."""

    store: Store
    keys: Sequence[Ed25519PrivateKey]
    """Those that images know, the current one last."""
    service_id: str
    _signed: Checkpoint | None = field(default=None, init=False)
    """The last one of this object: no later log is without it."""

    def run(self) -> int:
        """Append everything that waits; returns the size of the log.

        Raises:
            OperationError: the database fails, or holds a log that is not the one that was signed, or that has a newer
                key than this process.
        """
        while self._is_waited_for():
            self._append_batch()
        with self.store.read() as transaction:
            return _size(newest_checkpoint(transaction))

    def retire(self, key: str) -> None:
        """Append the entry that a key, named by its fingerprint, signs no more (transparency.md, 8).

        Raises:
            OperationError: as above.
        """
        self._append_batch(queue_item(log_key_entry("retired", key, int(time.time()))))

    def _is_waited_for(self) -> bool:
        with self.store.read() as transaction:
            return bool(transaction.find(LogQueueItem, limit=1))

    def _append_batch(self, *own: LogQueueItem) -> None:
        """Append some of what waits, and behind it entries of the sequencer's own."""
        with self.store.write(LOG) as transaction:
            waiting = transaction.find_from(LogQueueItem, "position", 0, limit=BATCH)
            if not (waiting or own):
                return
            before = newest_checkpoint(transaction)
            frontier = read_frontier(transaction, _size(before))
            succession = self._succession(before)
            self._require_signed(transaction, before, frontier)
            for item in (*succession, *_of_services(waiting), *own):
                _append(transaction, frontier, item)
            for item in waiting:  # one by one: an item that commits meanwhile may have a lower position
                transaction.delete(LogQueueItem, position=item.position)
            if frontier.size == _size(before):
                return
            checkpoint = Checkpoint(self._origin, frontier.size, frontier.root())
            if before is not None and before.size // CHECKPOINT_EVERY == frontier.size // CHECKPOINT_EVERY:
                transaction.delete(LogCheckpoint, size=before.size)
            transaction.add(LogCheckpoint(frontier.size, sign_checkpoint(checkpoint, *self.keys)))
        self._signed = checkpoint

    @property
    def _origin(self) -> str:
        return log_origin(self.service_id)

    def _succession(self, before: LogCheckpoint | None) -> list[LogQueueItem]:
        """The entry that the current key begins with, if the log has not had its signature yet (transparency.md, 8).

        Raises:
            OperationError: the log's current key is one that this process has not been given.
        """
        if before is None:
            return []
        last, known = _last_key_id(before), [key_id(self._origin, key.public_key()) for key in self.keys]
        if last == known[-1]:
            return []
        if last not in known:
            raise OperationError(
                "The log is signed with a key that this process does not have.",
                cure="Restart the service; on every machine keys/ must be the same.",
            )
        return [queue_item(log_key_entry("current", key_fingerprint(self.keys[-1].public_key()), int(time.time())))]

    def _require_signed(self, transaction: Transaction, before: LogCheckpoint | None, frontier: Frontier) -> None:
        """Refuse to go on from a tree that no key of this process has signed, or that is without what this one has.

        Raises:
            OperationError: such a log stands in the database.
        """
        try:
            if before is None:
                if transaction.find(LogEntryRecord, limit=1):
                    raise VerificationError(RejectionCode.LOG_PROOF_INVALID, "its entries have no checkpoint")
            else:
                last = _last_key_id(before)
                (key,) = [one for one in self.keys if key_id(self._origin, one.public_key()) == last]
                found = verify_checkpoint(before.note, key.public_key(), self._origin)
                if found != Checkpoint(self._origin, frontier.size, frontier.root()):
                    raise VerificationError(RejectionCode.LOG_PROOF_INVALID, "its tree is not the one that was signed")
            if self._signed is not None:
                self._require_continued(transaction, self._signed, frontier)
        except (FormatError, VerificationError) as error:
            raise _damaged(str(error)) from error

    def _require_continued(self, transaction: Transaction, signed: Checkpoint, frontier: Frontier) -> None:
        first, second = signed.size, frontier.size
        places = nodes_of_consistency(first, second) if first <= second else []
        path = consistency_proof(node_reader(transaction, places), first, second) if places else []
        verify_consistency(first, second, signed.root, frontier.root(), path)


def _of_services(waiting: Iterable[LogQueueItem]) -> list[LogQueueItem]:
    """What waits, without entries about keys of the log: only a sequencer makes those, so somebody else wrote them."""
    kept = []
    for item in waiting:
        if is_log_key_entry(item.leaf):
            logger.error("an entry about a key of the log, which no service has written, is not appended")
        else:
            kept.append(item)
    return kept


def newest_checkpoint(transaction: Transaction) -> LogCheckpoint | None:
    """The checkpoint of the whole log; None of an empty one."""
    found = transaction.find(LogCheckpoint, newest_first="size", limit=1)
    return found[0] if found else None


def read_frontier(transaction: Transaction, size: int) -> Frontier:
    """What appending to the log needs."""
    places = frontier_of(size)
    read = node_reader(transaction, places)
    return Frontier(size, [read(*place) for place in places])


def node_reader(transaction: Transaction, places: Iterable[tuple[int, int]]) -> ReadNode:
    """The stored hashes of perfect subtrees, by level and index, read in one round trip.

    Raises:
        OperationError: one is missing.
    """
    wanted = list(places)
    reads = [query(LogNode, level=level, node_index=index) for level, index in wanted]
    found = transaction.find_each(*reads) if reads else []
    hashes: dict[tuple[int, int], bytes] = {}
    for place, nodes in zip(wanted, found, strict=True):
        if not nodes:
            raise _damaged(f"subtree {place[1]} of level {place[0]} is missing")
        hashes[place] = nodes[0].hash
    return lambda level, index: hashes[level, index]


def _append(transaction: Transaction, frontier: Frontier, item: LogQueueItem) -> None:
    transaction.add(
        LogEntryRecord(
            entry_index=frontier.size,
            leaf=item.leaf,
            entry_kind=item.entry_kind,
            at=item.at,
            code=item.code,
            device_id=item.device_id,
            license_id=item.license_id,
            subject=item.subject,
        )
    )
    for node in frontier.append(leaf_hash(item.leaf)):
        transaction.add(LogNode(node.level, node.index, node.hash))


def _size(checkpoint: LogCheckpoint | None) -> int:
    return 0 if checkpoint is None else checkpoint.size


def _last_key_id(checkpoint: LogCheckpoint) -> bytes:
    try:
        return last_key_id(checkpoint.note)
    except FormatError as error:
        raise _damaged(str(error)) from error


def _damaged(sentence: str) -> OperationError:
    return OperationError(
        f"The log in the database is damaged: {sentence}.",
        cure="Run `sealwright-license audit verify DIR`, and restore the database from the backup.",
    )
