"""What a transaction changes in audited tables becomes entries of the log, written in that same transaction.

The store calls this for every record that it writes or deletes, so that no service can forget it
(policies/spec/transparency.md, 4 and 5). What an entry may hold, :mod:`sealwright_policies.transparency.entries` says.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from sealwright_licensing import metering_records, records
from sealwright_licensing.operators import records as operators
from sealwright_licensing.records import Decision, LogQueueItem, Operation
from sealwright_licensing.store import Value
from sealwright_licensing.tables import TABLES
from sealwright_policies.transparency.entries import (
    MOST_ROWS,
    ChangeEntry,
    DecisionEntry,
    Entry,
    LogKeyEntry,
    OperationEntry,
    ReleaseEntry,
    RowState,
    entry_bytes,
    row_digest,
    row_key,
)

AUDITED: tuple[type[Any], ...] = (
    records.License,
    records.ActivationCodeRecord,
    records.MakerCertificate,
    records.ReleaseRecord,
    records.ReleaseShares,
    records.Device,
    records.DeviceRelease,
    records.TickLedger,
    records.LeaseRecord,
    records.DeviceCertificateRecord,
    records.Decision,
    records.DeviceFirmware,
    records.ClockSighting,
    records.Operation,
    operators.ApiToken,
    metering_records.MeteringChain,
    metering_records.MeteringReceipt,
    metering_records.MeteringUsage,
    metering_records.MeteringAlarm,
)
"""What is decided and granted, and what it is decided by."""
PASSING: tuple[type[Any], ...] = (
    records.PendingEnrollment,
    records.EnrollmentReply,
    records.RenewalReply,
    records.NextNonce,
    records.SpentNonce,
    records.AppraisedLogs,
    records.DeniedLogs,
    records.ServiceTime,
    operators.ApiTokenUse,
    operators.OperatorSession,
    operators.IdempotencyRecord,
    records.LogQueueItem,
    records.LogEntryRecord,
    records.LogNode,
    records.LogCheckpoint,
)
"""What strangers can have written, what is kept for the next request, the clock, and the log itself."""

SPOKEN_OF: dict[type[Any], Mapping[str, str]] = {
    Decision: {
        "at": "decided_at",
        "purpose": "purpose",
        "code": "code",
        "device_id": "device_id",
        "license_id": "license_id",
    },
    Operation: {
        "at": "performed_at",
        "actor_kind": "actor_kind",
        "actor": "actor",
        "operation": "operation",
        "subject": "subject",
    },
}
"""What an entry says itself of the decision or operation that it is about: its fields, and the columns of the row."""
UPGRADE = "database.upgrade"
"""The operation behind which all rows are entered anew."""

_KINDS = frozenset(AUDITED)
KEYS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(column.name for column in TABLES[kind].primary_key) for kind in AUDITED
}


class RowChanges:
    """The rows that one transaction has changed, each as it was left."""

    def __init__(self) -> None:
        self._rows: dict[tuple[type[Any], tuple[Value, ...]], Mapping[str, Value] | None] = {}
        self._named: list[Decision | Operation] = []

    def wrote(self, record: object, columns: Mapping[str, Value]) -> None:
        """A record was added or replaced; ``columns`` are its values as they are stored."""
        kind = type(record)
        if kind in _KINDS:
            self._rows[kind, tuple(columns[name] for name in KEYS[kind])] = columns
        if isinstance(record, (Decision, Operation)):
            self._named.append(record)

    @staticmethod
    def concern(kind: type[Any]) -> bool:
        """Whether deletions of a kind are noted."""
        return kind in _KINDS

    def deleted(self, found: Iterable[object]) -> None:
        """These records are deleted."""
        for record in found:
            self._rows[type(record), _key_of(record)] = None

    def items(self) -> list[LogQueueItem]:
        """Entries for what has changed: one for each decision or operation, rows in the last, again if they are many.

        Without either they are changes without a cause, which the audit finds: a mistake in the program.
        """
        if not self._rows:
            return []
        states = [_state(kind, key, columns) for (kind, key), columns in self._rows.items()]
        chunks = [states[at : at + MOST_ROWS] for at in range(0, len(states), MOST_ROWS)]
        if not self._named:
            now = int(time.time())
            return [queue_item(change_entry("written", chunk, now)) for chunk in chunks]
        *others, last = self._named
        entries = [*(named_entry(record, []) for record in others), *(named_entry(last, chunk) for chunk in chunks)]
        return [queue_item(entry) for entry in entries]


def change_entry(reason: Any, states: Sequence[RowState], at: int) -> ChangeEntry:
    """An entry for rows that neither a decision nor an operation speaks for."""
    return ChangeEntry(version=1, kind="change", entry_id=_entry_id(), at=at, reason=reason, rows=list(states))


def log_key_entry(event: Literal["current", "retired"], key: str, at: int) -> LogKeyEntry:
    """An entry about a key of the log, by its fingerprint."""
    return LogKeyEntry(version=1, kind="log-key", entry_id=_entry_id(), at=at, event=event, key=key)


def row_state(kind: type[Any], columns: Mapping[str, Value]) -> RowState:
    """A row as an entry names it."""
    table = TABLES[kind].name
    key = _key_text(kind, [columns[name] for name in KEYS[kind]])
    return RowState(table=table, key=key, sha256=row_digest(table, columns))


def queue_item(entry: Entry) -> LogQueueItem:
    """An entry as it waits for its number."""
    return LogQueueItem(None, entry_bytes(entry), *search_fields(entry))


def search_fields(entry: Entry) -> tuple[str, int, str, str, str, str]:
    """What an entry is found by: kind, time, code, device, licence, subject."""
    match entry:
        case ReleaseEntry():
            return entry.kind, 0, "", "", "", entry.release_id
        case DecisionEntry():
            return entry.kind, entry.at, entry.code, entry.device_id, entry.license_id, ""
        case OperationEntry():
            return entry.kind, entry.at, entry.operation, "", "", entry.subject
        case ChangeEntry():
            return entry.kind, entry.at, entry.reason, "", "", ""
        case LogKeyEntry():
            return entry.kind, entry.at, entry.event, "", "", entry.key


def named_entry(record: Decision | Operation, rows: list[RowState]) -> Entry:
    """An entry for what a decision or operation has changed."""
    said: dict[str, Any] = {field: getattr(record, column) for field, column in SPOKEN_OF[type(record)].items()}
    common: dict[str, Any] = {"version": 1, "entry_id": _entry_id(), "rows": rows, **said}
    if isinstance(record, Operation):
        return OperationEntry(kind="operation", operation_id=record.operation_id, **common)
    return DecisionEntry(kind="decision", decision_id=record.decision_id, **common)


def _state(kind: type[Any], key: tuple[Value, ...], columns: Mapping[str, Value] | None) -> RowState:
    if columns is None:
        return RowState(table=TABLES[kind].name, key=_key_text(kind, key), sha256=None)
    return row_state(kind, columns)


def _key_text(kind: type[Any], key: Sequence[Value]) -> str:
    """The key in an entry. One that holds words of a customer, who may want them forgotten, is there as its digest."""
    if kind is metering_records.MeteringUsage:
        return row_digest(TABLES[kind].name, dict(zip(KEYS[kind], key, strict=True)))
    return row_key(key)


def _key_of(record: object) -> tuple[Value, ...]:
    return tuple(getattr(record, name) for name in KEYS[type(record)])


def _entry_id() -> str:
    return secrets.token_hex(16)
