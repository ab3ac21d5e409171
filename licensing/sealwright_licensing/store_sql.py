"""The store on a SQL database (database.py): one implementation for SQLite and PostgreSQL.

What a write transaction names is alone with it: on SQLite because there is one writer at a time, on PostgreSQL by
advisory locks that it takes before its first read and keeps until it ends. Statements see what was committed before
them (READ COMMITTED), so what is read after the locks is what their last holders left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from sqlalchemy import Boolean, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sealwright_licensing import locks
from sealwright_licensing.database import EXCLUSIVE, is_postgresql
from sealwright_licensing.paging import PageQuery
from sealwright_licensing.statements import FIELDS, KEYS, Parameters, Statement, Statements, bound_parameter
from sealwright_licensing.store import Query, Transaction, Value
from sealwright_licensing.tables import CLOSED_SETS, TABLES
from sealwright_policies.errors import OperationError

R = TypeVar("R")
Row = Sequence[Any]
Admit = Callable[[object], None]

_EVERYTHING = locks.lock_key("everything")
"""Held by every write transaction: shared by those with names, exclusively by one without."""


class SqlStore:
    """Implements :class:`sealwright_licensing.store.Store`."""

    def __init__(self, engine: Engine, admit: Admit = lambda _: None) -> None:
        """``admit`` sees each record that is read, and raises OperationError for one that must not be believed."""
        self._engine = engine
        self._admit = admit
        self._statements = Statements(engine.dialect)
        self._is_postgresql = is_postgresql(engine)
        self._errors = (DBAPIError, PoolTimeoutError, engine.dialect.loaded_dbapi.Error)

    def read(self) -> AbstractContextManager[Transaction]:
        """A consistent view."""
        return self._transaction(None)

    def write(self, *names: str) -> AbstractContextManager[Transaction]:
        """A transaction that is alone, or alone with what it names."""
        return self._transaction(frozenset(names))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, names: frozenset[str] | None) -> Iterator[Transaction]:
        options: dict[str, Any] = {EXCLUSIVE: names is not None}
        if self._is_postgresql:
            level = "REPEATABLE READ" if names is None else "READ COMMITTED"
            options.update(isolation_level=level, postgresql_readonly=names is None)
        try:
            with self._engine.connect().execution_options(**options) as connection, connection.begin():
                transaction = _SqlTransaction(connection, self._statements, self._admit, names)
                if self._is_postgresql and names is not None:
                    transaction.lock(names)
                yield transaction
                transaction.flush()
        except self._errors as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> OperationError:
        """Only the first line of a driver's error: PostgreSQL's next ones may show a whole row."""
        said = str(getattr(error, "orig", None) or error).partition("\n")[0]
        if self._is_postgresql:
            return OperationError(f"The database refused: {said}.", cure="Check that PostgreSQL runs, then ask again.")
        return OperationError(
            f"The database refused: {said}.", cure="Check disk space and permissions of the service's folder."
        )


class _SqlTransaction:
    """Implements :class:`sealwright_licensing.store.Transaction` on one connection.

    Changes wait for the next read or the end, so that PostgreSQL gets them in one round trip.
    """

    def __init__(
        self, connection: Connection, statements: Statements, admit: Admit, names: frozenset[str] | None
    ) -> None:
        self._driver: Any = connection.connection.driver_connection
        self._pipelined = is_postgresql(connection.engine)
        self._statements = statements
        self._admit = admit
        self._names = names or frozenset()
        self._pending: list[tuple[str, Parameters]] = []

    def lock(self, names: frozenset[str]) -> None:
        """Take the locks of the names, in one order for all transactions, before anything is read."""
        if not names:
            self._pending.append((f"SELECT pg_advisory_xact_lock({_EVERYTHING})", {}))
            return
        keys = sorted({locks.lock_key(name) for name in names} - {_EVERYTHING})
        # PostgreSQL calls the functions of a SELECT from left to right.
        calls = ", ".join(f"pg_advisory_xact_lock(%(k{index})s)" for index in range(len(keys)))
        values = {f"k{index}": key for index, key in enumerate(keys)}
        self._pending.append((f"SELECT pg_advisory_xact_lock_shared({_EVERYTHING}), {calls}", values))

    def get(self, kind: type[R], *key: Value) -> R | None:
        (rows,) = self._rows([Query(kind, dict(zip(KEYS[kind], key, strict=True)))])
        return self._record(kind, rows[0]) if rows else None

    def get_each(self, kind: type[R], keys: Iterable[str]) -> dict[str, R | OperationError]:
        (field,) = KEYS[kind]
        queries = [Query(kind, {field: key}) for key in keys]
        found: dict[str, R | OperationError] = {}
        for query, rows in zip(queries, self._rows(queries), strict=True):
            for row in rows:
                try:
                    found[str(query.equal[field])] = self._record(kind, row)
                except OperationError as error:
                    found[str(query.equal[field])] = error
        return found

    def find(
        self, kind: type[R], *, newest_first: str | None = None, limit: int | None = None, **equal: Value
    ) -> list[R]:
        locks.require_read(self._names, kind, equal)
        statement = self._statements.select(kind, tuple(equal), newest_first, limit)
        (rows,) = self._run([(statement, equal)])
        return [self._record(kind, row) for row in rows]

    def find_each(self, *queries: Query) -> list[list[Any]]:
        found = zip(queries, self._rows(queries), strict=True)
        return [[self._record(query.kind, row) for row in rows] for query, rows in found]

    def page(self, kind: type[R], query: PageQuery) -> list[R]:
        locks.require_read(self._names, kind, query.equal)
        (rows,) = self._run([(self._statements.page(kind, query), {})])
        return [self._record(kind, row) for row in rows]

    def count(self, kind: type[R], **equal: Value) -> int:
        locks.require_read(self._names, kind, equal)
        (rows,) = self._run([(self._statements.count(kind, tuple(equal)), equal)])
        return int(rows[0][0])

    def add(self, record: object) -> None:
        self._change(type(record), _fields(record), self._statements.add(type(record)))

    def put(self, record: object) -> None:
        self._change(type(record), _fields(record), self._statements.put(type(record)))

    def delete(self, kind: type[R], **equal: Value) -> None:
        self._change(kind, equal, self._statements.delete(kind, tuple(equal)))

    def delete_below(self, kind: type[R], field: str, bound: int, **equal: Value) -> None:
        self._change(kind, equal, self._statements.delete(kind, tuple(equal), field), bound_parameter(bound))

    def delete_expired(self, kind: type[R], bound: int) -> None:
        locks.require_expiry(self._names)
        statement = self._statements.delete_expired(kind)
        self._pending.append((statement.text, statement.parameters(bound_parameter(bound))))

    def flush(self) -> None:
        """Bring the changes that wait to the database."""
        self._run([])

    def _change(
        self, kind: type[Any], fields: Mapping[str, Any], statement: Statement, further: Mapping[str, Any] | None = None
    ) -> None:
        locks.require_written(self._names, kind, fields)
        self._pending.append((statement.text, statement.parameters({**fields, **further} if further else fields)))

    def _rows(self, queries: Sequence[Query]) -> list[list[Row]]:
        for query in queries:
            locks.require_read(self._names, query.kind, query.equal)
        return self._run([(self._statements.select(one.kind, tuple(one.equal)), one.equal) for one in queries])

    def _run(self, reads: Sequence[tuple[Statement, Mapping[str, Any]]]) -> list[list[Row]]:
        """Run what waits, then the reads; gives each read's rows."""
        wanted = self._pending + [(statement.text, statement.parameters(values)) for statement, values in reads]
        self._pending = []
        cursors = self._execute(wanted)
        return [cursor.fetchall() for cursor in cursors[len(cursors) - len(reads) :]]

    def _execute(self, wanted: Sequence[tuple[str, Parameters]]) -> list[Any]:
        if not self._pipelined or not wanted:
            return [self._driver.execute(*one) for one in wanted]
        with self._driver.pipeline():
            return [self._driver.execute(*one) for one in wanted]

    def _record(self, kind: type[R], row: Row) -> R:
        values = list(row)
        for index, convert in _CONVERSIONS[kind]:
            values[index] = convert(values[index])
        record = kind(*values)
        self._admit(record)
        return record


def _conversions(kind: type[Any]) -> list[tuple[int, Callable[[Any], Any]]]:
    """What makes a field of what a driver gives: closed sets, and flags, which are numbers to SQLite."""
    flags = {column.name: bool for column in TABLES[kind].c if isinstance(column.type, Boolean)}
    wanted: dict[str, Callable[[Any], Any]] = {**CLOSED_SETS.get(kind, {}), **flags}
    return [(index, wanted[name]) for index, name in enumerate(FIELDS[kind]) if name in wanted]


_CONVERSIONS = {kind: _conversions(kind) for kind in TABLES}


def _fields(record: object) -> dict[str, Any]:
    return {name: getattr(record, name) for name in FIELDS[type(record)]}
