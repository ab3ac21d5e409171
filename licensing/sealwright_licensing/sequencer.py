"""The sequencer: gives waiting entries their numbers, extends the tree, signs a checkpoint (transparency.md, 5).

One batch is one transaction that holds the log's lock, so that there is one sequencer at a time for a database, and a
process that is killed leaves a whole batch or none. Everything that appends needs is read from the database.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealwright_licensing.locks import LOG
from sealwright_licensing.records import LogCheckpoint, LogEntryRecord, LogNode, LogQueueItem
from sealwright_licensing.row_changes import log_key_entry, queue_item
from sealwright_licensing.store import Store, Transaction, query
from sealwright_policies.errors import OperationError
from sealwright_policies.transparency.checkpoint import Checkpoint, key_id, last_key_id, log_origin, sign_checkpoint
from sealwright_policies.transparency.key_schedule import key_fingerprint
from sealwright_policies.transparency.merkle import Frontier, ReadNode, frontier_of, leaf_hash

INTERVAL_S = 1.0
"""How often a service that runs looks for waiting entries."""
BATCH = 512
"""Entries of one transaction: on SQLite, deciding waits for it."""
CHECKPOINT_EVERY = 4096
"""The last checkpoint of so many entries is kept, and the newest."""


@dataclass(frozen=True, slots=True)
class Sequencer:
    """Appends to the log of one service."""

    store: Store
    keys: Sequence[Ed25519PrivateKey]
    """Those that images know, the current one last."""
    service_id: str

    def run(self) -> int:
        """Append everything that waits; returns the size of the log.

        Raises:
            OperationError: the database fails, or holds a log that is damaged or has a newer key than this process.
        """
        while self._is_waited_for():
            self._append_batch()
        with self.store.read() as transaction:
            return _size(newest_checkpoint(transaction))

    def _is_waited_for(self) -> bool:
        with self.store.read() as transaction:
            return bool(transaction.find(LogQueueItem, limit=1))

    def _append_batch(self) -> None:
        with self.store.write(LOG) as transaction:
            waiting = transaction.find_from(LogQueueItem, "position", 0, limit=BATCH)
            if not waiting:
                return
            before = newest_checkpoint(transaction)
            frontier = read_frontier(transaction, _size(before))
            for item in (*self._succession(before), *waiting):
                _append(transaction, frontier, item)
            for item in waiting:  # one by one: an item that commits meanwhile may have a lower position
                transaction.delete(LogQueueItem, position=item.position)
            checkpoint = Checkpoint(self._origin, frontier.size, frontier.root())
            if before is not None and before.size // CHECKPOINT_EVERY == frontier.size // CHECKPOINT_EVERY:
                transaction.delete(LogCheckpoint, size=before.size)
            transaction.add(LogCheckpoint(frontier.size, sign_checkpoint(checkpoint, *self.keys)))

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
        last, known = last_key_id(before.note), [key_id(self._origin, key.public_key()) for key in self.keys]
        if last == known[-1]:
            return []
        if last not in known:
            raise OperationError(
                "The log is signed with a key that this process does not have.",
                cure="Restart the service; on every machine keys/ must be the same.",
            )
        return [queue_item(log_key_entry("current", key_fingerprint(self.keys[-1].public_key()), int(time.time())))]


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
            raise OperationError(
                f"The log in the database is damaged: subtree {place[1]} of level {place[0]} is missing.",
                cure="Run `sealwright-license audit verify DIR`, and restore the database from the backup.",
            )
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
