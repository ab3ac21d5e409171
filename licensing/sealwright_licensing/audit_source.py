"""What an audit reads: the service's database, or a folder that `audit export` has written.

Rows are read with the driver's own types and without the store, which would refuse some of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, CursorResult, Engine, MetaData, Select, Table, func, inspect, select
from sqlalchemy.exc import DBAPIError, NoSuchTableError

from sealwright_licensing.audit import StoredEntry, StoredNote
from sealwright_licensing.audit_rows import StoredRow
from sealwright_licensing.database import is_postgresql
from sealwright_licensing.row_changes import row_state, search_fields
from sealwright_licensing.tables import TABLES, log_checkpoints, log_entries, log_nodes, log_queue
from sealwright_licensing.tables_as_made import damages, table_differences
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.transparency.entries import ENTRY_LIMIT, parse_entry

ENTRIES_FILE, CHECKPOINTS_FOLDER = "entries.jsonl", "checkpoints"
_CHUNK = 1000
"""Rows in memory at once."""
_FOUND_BY = ("entry_kind", "at", "code", "device_id", "license_id", "subject")


class DatabaseSource:
    """Implements :class:`sealwright_licensing.audit.Source` on an open transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _read(self, query: Select[*tuple[Any, ...]]) -> CursorResult[*tuple[Any, ...]]:
        """A query's rows, in chunks. The option is the query's own: a connection would keep it for what comes after."""
        return self._connection.execute(query, execution_options={"yield_per": _CHUNK})

    def differences(self) -> Iterator[tuple[str, str]]:
        yield from table_differences(self._connection)
        yield from damages(self._connection)

    def entries(self) -> Iterator[StoredEntry]:
        for row in self._read(select(log_entries).order_by(log_entries.c.entry_index)).mappings():
            yield StoredEntry(row["entry_index"], row["leaf"], _found_by(row))

    def waiting(self) -> Iterator[StoredEntry]:
        for row in self._read(select(log_queue).order_by(log_queue.c.position)).mappings():
            yield StoredEntry(-1, row["leaf"], _found_by(row))

    def nodes(self, level: int) -> Iterator[tuple[int, bytes]]:
        query = select(log_nodes.c.node_index, log_nodes.c.hash).where(log_nodes.c.level == level)
        for index, found in self._read(query.order_by(log_nodes.c.node_index)):
            yield int(index), bytes(found)

    def highest_level(self) -> int:
        highest = self._connection.execute(select(func.max(log_nodes.c.level))).scalar_one()
        return -1 if highest is None else int(highest)

    def checkpoints(self) -> list[StoredNote]:
        query = select(log_checkpoints.c.size, log_checkpoints.c.note).order_by(log_checkpoints.c.size)
        return [StoredNote(f"checkpoint {size}", note, size) for size, note in self._read(query)]

    def rows(self, kind: type[Any]) -> Iterator[StoredRow]:
        # With the columns that are there: entries are about those of their schema, which a migration changes.
        name = TABLES[kind].name
        try:
            columns_there = inspect(self._connection).get_columns(name)
        except NoSuchTableError:
            return
        table = Table(name, MetaData(), *(Column(one["name"], one["type"]) for one in columns_there))
        whole = select(table).suffix_with("NOT INDEXED", dialect="sqlite")  # an index could have rows of before
        for row in self._read(whole).mappings():
            columns = dict(row)
            yield StoredRow(row_state(kind, columns), columns)


class ExportSource:
    """The same on an export, which has no rows beside the log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def differences(self) -> Iterator[tuple[str, str]]:
        return iter(())

    def entries(self) -> Iterator[StoredEntry]:
        try:
            with (self._folder / ENTRIES_FILE).open("rb") as file:
                for index, line in enumerate(iter(lambda: file.readline(ENTRY_LIMIT + 2), b"")):
                    leaf = line.removesuffix(b"\n")
                    yield StoredEntry(index, leaf, _of_leaf(leaf))
        except OSError as error:
            raise _unreadable(error) from error

    def waiting(self) -> Iterator[StoredEntry]:
        return iter(())

    def nodes(self, level: int) -> None:
        return None

    def highest_level(self) -> int:
        return -1

    def checkpoints(self) -> list[StoredNote]:
        files = sorted((self._folder / CHECKPOINTS_FOLDER).glob("*.txt"), key=lambda file: (len(file.name), file.name))
        return [read_note(file) for file in files]

    def rows(self, kind: type[Any]) -> None:
        return None


@contextmanager
def open_database_source(engine: Engine) -> Iterator[DatabaseSource]:
    """A view of one moment of a service's database.

    Raises:
        OperationError: it cannot be read.
    """
    options: dict[str, Any] = {"isolation_level": "REPEATABLE READ"} if is_postgresql(engine) else {}
    try:
        with engine.connect().execution_options(**options) as connection, connection.begin():
            yield DatabaseSource(connection)
    except DBAPIError as error:
        said = str(error.orig).partition("\n")[0]
        raise OperationError(f"The database cannot be read: {said}.", cure="Check its path and rights.") from error


def write_export(source: DatabaseSource, folder: Path) -> int:
    """Write entries and checkpoints into a new folder; returns the number of entries.

    Raises:
        OperationError: it exists, or the disk refuses.
    """
    count = 0
    try:
        (folder / CHECKPOINTS_FOLDER).mkdir(parents=True)
        with (folder / ENTRIES_FILE).open("xb") as file:
            for stored in source.entries():
                file.write(stored.leaf + b"\n")
                count += 1
        for stored_note in source.checkpoints():
            name = stored_note.where.replace(" ", "-")
            (folder / CHECKPOINTS_FOLDER / f"{name}.txt").write_text(stored_note.note, "utf-8")
    except OSError as error:
        raise OperationError(
            f"{folder} cannot be written: {error.strerror}.", cure="Give a folder that does not exist yet."
        ) from error
    return count


def read_note(path: Path) -> StoredNote:
    """A checkpoint in a file.

    Raises:
        OperationError: it cannot be read.
    """
    try:
        return StoredNote(str(path), path.read_text("utf-8", "replace"))
    except OSError as error:
        raise _unreadable(error) from error


def _found_by(row: Any) -> tuple[str, int, str, str, str, str]:
    kind, at, code, device_id, license_id, subject = (row[name] for name in _FOUND_BY)
    return kind, at, code, device_id, license_id, subject


def _of_leaf(leaf: bytes) -> tuple[str, int, str, str, str, str]:
    try:
        return search_fields(parse_entry(leaf))
    except FormatError:  # the audit says so
        return "", 0, "", "", "", ""


def _unreadable(error: OSError) -> OperationError:
    return OperationError(f"{error.filename} cannot be read: {error.strerror}.", cure="Give an export, or a service.")
