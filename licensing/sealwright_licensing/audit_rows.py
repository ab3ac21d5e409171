"""The audit's view of the rows (policies/spec/transparency.md, 7).

How the entries leave them, what they say of decisions and operations, and whether each change has a cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sealwright_licensing.audit_judgements import RowPlace
from sealwright_licensing.records import Decision, Operation
from sealwright_licensing.row_changes import SPOKEN_OF, UPGRADE
from sealwright_licensing.store import Value
from sealwright_licensing.tables import TABLES
from sealwright_policies.transparency.entries import (
    ChangeEntry,
    DecisionEntry,
    Entry,
    OperationEntry,
    ReleaseEntry,
    RowChange,
    RowState,
)

CAUSES_SINCE = "0008"
"""Schema since which every change has a cause."""
BEFORE_SINCE = "0011"
"""Schema since which every change says how it found the row."""
_DECISIONS, _OPERATIONS = TABLES[Decision].name, TABLES[Operation].name
_FIELDS: dict[str, Mapping[str, str]] = {TABLES[kind].name: fields for kind, fields in SPOKEN_OF.items()}


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row as it is: as an entry would name it, and its columns."""

    state: RowState
    columns: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class _Said:
    """What an entry says of the decision or operation that it is about."""

    place: str
    values: Mapping[str, Value]


class ExpectedRows:
    """Rows as the entries so far have left them."""

    def __init__(self) -> None:
        self._rows: dict[RowPlace, bytes] = {}
        self.found_otherwise: list[tuple[str, RowPlace]] = []
        """Entries that found a row otherwise than the one before had left it, and which row."""
        self._said: dict[RowPlace, _Said | None] = {}
        """Of rows of the journals that are there; None of those from before the log."""

    def play(self, place: str, entry: Entry) -> None:
        """Take in an entry."""
        match entry:
            case DecisionEntry():
                self._said[_DECISIONS, entry.decision_id] = _said(place, entry, _DECISIONS)
            case OperationEntry():
                self._said[_OPERATIONS, entry.operation_id] = _said(place, entry, _OPERATIONS)
            case ChangeEntry(reason="baseline"):
                for row in entry.rows:
                    if row.table in _FIELDS:
                        self._said.setdefault((row.table, row.key), None)
            case _:
                pass
        for row in getattr(entry, "rows", ()):
            if isinstance(row, RowChange) and row.before != self._digest(row):
                self.found_otherwise.append((place, (row.table, row.key)))
            self._change(row)

    def compare(self, row: StoredRow) -> str:
        """What is wrong with a row that is there; empty if nothing is."""
        place = row.state.table, row.state.key
        known, was_said, said = self._rows.pop(place, None), place in self._said, self._said.pop(place, None)
        if known is None:
            return "no entry of the log has brought the row"
        differing = [] if said is None else _differences(said, row)
        if known.hex() != row.state.sha256:
            return "; ".join(["the row is not as the last entry about it left it", *differing])
        if row.state.table in _FIELDS and not was_said:
            return "no entry speaks of it"
        return "; ".join(differing)

    def left(self) -> Iterable[RowPlace]:
        """Rows that have not been compared."""
        return self._rows

    def drop(self, table: str) -> None:
        """Compare nothing of a table."""
        for place in [place for place in self._rows if place[0] == table]:
            del self._rows[place]

    def _digest(self, row: RowState) -> str | None:
        known = self._rows.get((row.table, row.key))
        return None if known is None else known.hex()

    def _change(self, row: RowState) -> None:
        place = row.table, row.key
        if row.sha256 is None:
            self._rows.pop(place, None)
            self._said.pop(place, None)
        else:
            self._rows[place] = bytes.fromhex(row.sha256)


def _said(place: str, entry: DecisionEntry | OperationEntry, table: str) -> _Said:
    return _Said(place, {column: getattr(entry, field) for field, column in _FIELDS[table].items()})


def _differences(said: _Said, row: StoredRow) -> list[str]:
    return [
        f"{said.place} says {column} {value!r}, the row {row.columns[column]!r}"
        for column, value in said.values.items()
        if row.columns[column] != value
    ]


def _places(rows: Iterable[RowState]) -> list[RowPlace]:
    return [(row.table, row.key) for row in rows]


class Causes:
    """Changes that neither a decision nor an operation speaks for, and those that do not say how they found a row."""

    def __init__(self) -> None:
        self.missing: list[tuple[str, list[RowPlace]]] = []
        """Entries of changes without a cause, and the rows that they name."""
        self.without_before: list[tuple[str, list[RowPlace]]] = []
        """Entries that do not say how they found a row, and the rows that they name."""
        self.upgrades: list[str] = []
        """Entries of upgrades of the schema, each of which entered all rows anew."""
        self.earlier = 0
        """Changes from before versions that named their causes; the log was upgraded since."""
        self._upgrading = False

    def note(self, place: str, entry: Entry) -> None:
        """Take in an entry, in their order."""
        rows = getattr(entry, "rows", ())
        match entry:
            case OperationEntry() if entry.operation == UPGRADE:
                self._note_upgrade(place, entry)
            case ChangeEntry(reason="baseline") if self._upgrading:
                return
            case ChangeEntry():
                self.missing.append((place, _places(rows)))
            case ReleaseEntry():  # an upgrade enters those that the log does not know
                return
            case _:
                self._upgrading = False
        if not all(isinstance(row, RowChange) for row in rows):
            self.without_before.append((place, _places(rows)))

    def _note_upgrade(self, place: str, entry: OperationEntry) -> None:
        self._upgrading = True
        self.upgrades.append(place)
        self.forgive(entry.subject)

    def forgive(self, schema: str) -> None:
        """What versions of a schema did not say yet is no finding; ``schema`` begins with its revision."""
        if schema < CAUSES_SINCE:
            self.earlier += len(self.missing)
            self.missing.clear()
        if schema < BEFORE_SINCE:
            self.without_before.clear()
