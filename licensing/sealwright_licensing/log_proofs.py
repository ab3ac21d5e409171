"""Proofs of the log for whoever asks: made from stored subtrees, under sizes that the log has."""

from __future__ import annotations

from sealwright_licensing.records import LogCheckpoint
from sealwright_licensing.sequencer import newest_checkpoint, node_reader
from sealwright_licensing.store import Store, Transaction
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.transparency.merkle import (
    consistency_proof,
    inclusion_proof,
    nodes_of_consistency,
    nodes_of_inclusion,
)
from sealwright_policies.wire.encoding import Document, Sha256Hex


class LogProof(Document):
    """The hashes of a proof."""

    path: list[Sha256Hex]


def checkpoint_note(store: Store) -> str:
    """The newest checkpoint.

    Raises:
        OperationError: the log is empty.
    """
    with store.read() as transaction:
        return _newest(transaction).note


def prove_inclusion(store: Store, index: int, size: int) -> LogProof:
    """That an entry is in the tree of a size.

    Raises:
        FormatError: the log has no such entry or size.
        OperationError: the log is empty or damaged.
    """
    with store.read() as transaction:
        if not index < size <= _newest(transaction).size:
            raise FormatError("The log has no such entry at that size.")
        read = node_reader(transaction, nodes_of_inclusion(index, size))
    return LogProof(path=[one.hex() for one in inclusion_proof(read, index, size)])


def prove_consistency(store: Store, first: int, second: int) -> LogProof:
    """That the tree of a size begins with that of an earlier one.

    Raises:
        FormatError: the log has no such sizes.
        OperationError: the log is empty or damaged.
    """
    with store.read() as transaction:
        if not first <= second <= _newest(transaction).size:
            raise FormatError("The log has no such sizes, or the first is the larger one.")
        read = node_reader(transaction, nodes_of_consistency(first, second))
    return LogProof(path=[one.hex() for one in consistency_proof(read, first, second)])


def _newest(transaction: Transaction) -> LogCheckpoint:
    found = newest_checkpoint(transaction)
    if found is None:
        raise OperationError("The log is empty.")
    return found
