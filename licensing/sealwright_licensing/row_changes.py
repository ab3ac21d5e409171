"""What a transaction changes in audited tables becomes entries of the log, written in that same transaction.

The store calls this for every record that it writes or deletes, so that no service can forget it
(policies/spec/transparency.md, 4 and 5). What an entry may hold, :mod:`sealwright_policies.transparency.entries` says.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from sealwright_licensing import flow_records, metering_records, records
from sealwright_licensing.operators import records as operators
from sealwright_licensing.records import Decision, LogQueueItem, Operation
from sealwright_licensing.statements import FIELDS
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
    RowChange,
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
    flow_records.ReportedFlow,
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
ACKNOWLEDGE = "audit.acknowledge"
"""The operation by which a person has judged a finding of the audit; its subject is the finding's id."""

_KINDS = frozenset(AUDITED)
KEYS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(column.name for column in TABLES[kind].primary_key) for kind in AUDITED
}


_Place = tuple[type[Any], tuple[Value, ...]]


class RowChanges:
    """The rows that one transaction has changed, each as it was found and as it was left."""

    def __init__(self) -> None:
        self._found: dict[_Place, object | None] = {}
        """As they were read, before any change of this transaction; None of those that were not there."""
        self._covered: list[tuple[type[Any], Mapping[str, Value]]] = []
        """What was read whole: of rows like these, those that were not found were not there."""
        self._rows: dict[_Place, Mapping[str, Value] | None] = {}
        self._unread: list[_Place] = []
        self._named: list[Decision | Operation] = []

    def read(self, record: object) -> None:
        """A record as it stands in the database."""
        kind = type(record)
        if kind in _KINDS:
            self._found.setdefault((kind, _key_of(record)), record)

    def read_all(self, kind: type[Any], equal: Mapping[str, Value]) -> None:
        """All records of a kind whose fields equal the given values are read."""
        if kind in _KINDS and equal.keys() <= set(KEYS[kind]):
            self._covered.append((kind, equal))

    def wrote(self, record: object, columns: Mapping[str, Value], *, is_new: bool) -> None:
        """A record was added or replaced; ``columns`` are its values as they are stored.

        Args:
            is_new: the database refuses it if there is one with its key.
        """
        kind = type(record)
        if kind in _KINDS:
            place = kind, tuple(columns[name] for name in KEYS[kind])
            self._rows[place] = columns
            if place not in self._found:
                if is_new or self._was_looked_for(kind, columns):
                    self._found[place] = None
                else:
                    self._unread.append(place)
        if isinstance(record, (Decision, Operation)):
            self._named.append(record)

    @staticmethod
    def concern(kind: type[Any]) -> bool:
        """Whether deletions of a kind are noted."""
        return kind in _KINDS

    def deleted(self, found: Iterable[object]) -> None:
        """These records, which were read, are deleted."""
        for record in found:
            self._rows[type(record), _key_of(record)] = None

    def take_unread(self) -> list[tuple[type[Any], Mapping[str, Value]]]:
        """Kind and key of rows that are to be replaced and have not been read: they have to be, before they are."""
        places, self._unread = self._unread, []
        return [(kind, dict(zip(KEYS[kind], key, strict=True))) for kind, key in places]

    def _was_looked_for(self, kind: type[Any], columns: Mapping[str, Value]) -> bool:
        return any(
            one is kind and all(columns[name] == value for name, value in equal.items()) for one, equal in self._covered
        )

    def items(self) -> list[LogQueueItem]:
        """Entries for what has changed: one for each decision or operation, rows in the last, again if they are many.

        Without either they are changes without a cause, which the audit finds: a mistake in the program.
        """
        changed = [(place, self._found.get(place), columns) for place, columns in self._rows.items()]
        states = [_change(*one) for one in changed if one[1:] != (None, None)]
        if not states:
            return []
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


def named_entry(record: Decision | Operation, rows: Sequence[RowState]) -> Entry:
    """An entry for what a decision or operation has changed."""
    said: dict[str, Any] = {field: getattr(record, column) for field, column in SPOKEN_OF[type(record)].items()}
    common: dict[str, Any] = {"version": 1, "entry_id": _entry_id(), "rows": list(rows), **said}
    if isinstance(record, Operation):
        return OperationEntry(kind="operation", operation_id=record.operation_id, **common)
    return DecisionEntry(kind="decision", decision_id=record.decision_id, **common)


def row_change(kind: type[Any], before: Mapping[str, Value] | None, after: Mapping[str, Value] | None) -> RowChange:
    """A row that was changed, as an entry names it: not both None."""
    columns = after if after is not None else before
    assert columns is not None  # noqa: S101 - by what is asked
    table = TABLES[kind].name
    key = _key_text(kind, [columns[name] for name in KEYS[kind]])
    was, now = (None if one is None else row_digest(table, one) for one in (before, after))
    return RowChange(table=table, key=key, sha256=now, before=was)


def _change(place: _Place, found: object | None, columns: Mapping[str, Value] | None) -> RowChange:
    kind = place[0]
    before = None if found is None else {name: getattr(found, name) for name in FIELDS[kind]}
    return row_change(kind, before, columns)


def _key_text(kind: type[Any], key: Sequence[Value]) -> str:
    """The key in an entry. One that holds words of a customer, who may want them forgotten, is there as its digest."""
    if kind is metering_records.MeteringUsage:
        return row_digest(TABLES[kind].name, dict(zip(KEYS[kind], key, strict=True)))
    return row_key(key)


def _key_of(record: object) -> tuple[Value, ...]:
    return tuple(getattr(record, name) for name in KEYS[type(record)])


def _entry_id() -> str:
    return secrets.token_hex(16)
