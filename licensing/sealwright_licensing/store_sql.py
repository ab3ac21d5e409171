"""The store on a SQL database (database.py): one implementation for SQLite and PostgreSQL.

What a write transaction names is alone with it: on SQLite because there is one writer at a time, on PostgreSQL by
advisory locks that it takes before its first read and keeps until it ends. Statements see what was committed before
them (READ COMMITTED), so what is read after the locks is what their last holders left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from sqlalchemy import Boolean, Engine, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sealwright_licensing import locks, metrics
from sealwright_licensing.database import is_postgresql, refused
from sealwright_licensing.lookups_sql import select_counts, select_newest
from sealwright_licensing.paging import PageQuery
from sealwright_licensing.paging_sql import select_page
from sealwright_licensing.row_changes import RowChanges
from sealwright_licensing.statements import (
    BOUND,
    FIELDS,
    KEYS,
    MOST_TOGETHER,
    Change,
    Shape,
    Statement,
    Statements,
    Values,
    Verb,
    groups,
)
from sealwright_licensing.store import Query, Transaction, Value
from sealwright_licensing.tables import CLOSED_SETS, TABLES
from sealwright_licensing.transactions import reading, writing
from sealwright_policies.errors import OperationError

R = TypeVar("R")
Row = Sequence[Any]
Admit = Callable[[object], None]


class SqlStore:
    """Implements :class:`sealwright_licensing.store.Store`."""

    def __init__(self, engine: Engine, admit: Admit = lambda _: None) -> None:
        """``admit`` sees each record that is read, and raises OperationError for one that must not be believed."""
        self._engine = engine
        self._admit = admit
        self._statements = Statements(engine.dialect)
        self._is_postgresql = is_postgresql(engine)
        self._errors = (DBAPIError, PoolTimeoutError, engine.dialect.loaded_dbapi.Error)

    @property
    def engine(self) -> Engine:
        """The database, for its schema, and for what reads tables as they are."""
        return self._engine

    def read(self) -> AbstractContextManager[Transaction]:
        """A consistent view."""
        return self._transaction(reading(self._engine), None)

    def read_once(self) -> AbstractContextManager[Transaction]:
        """A consistent view for one read."""
        return self._transaction(reading(self._engine, once=True), None, once=True)

    def write(self, *names: str) -> AbstractContextManager[Transaction]:
        """A transaction that is alone, or alone with what it names."""
        return self._transaction(writing(self._engine, frozenset(names)), frozenset(names))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(
        self, begun: AbstractContextManager[Any], names: frozenset[str] | None, *, once: bool = False
    ) -> Iterator[Transaction]:
        try:
            with begun as driver:
                transaction = _SqlTransaction(
                    driver, self._statements, self._admit, names, is_postgresql=self._is_postgresql, once=once
                )
                yield transaction
                transaction.enter_changes()
                transaction.flush()
        except self._errors as error:
            metrics.DATABASE_ERRORS.inc()
            raise refused(self._engine, error) from error


class _SqlTransaction:
    """Implements :class:`sealwright_licensing.store.Transaction`.

    Changes wait for the next read or the end, so that PostgreSQL gets several as one statement.
    """

    def __init__(
        self,
        driver: Any,
        statements: Statements,
        admit: Admit,
        names: frozenset[str] | None,
        *,
        is_postgresql: bool,
        once: bool,
    ) -> None:
        """``driver`` runs statements; ``names`` are None for a view, which is good for one read or for several."""
        self._driver = driver
        self._is_postgresql = is_postgresql
        self._statements = statements
        self._admit = admit
        self._is_view = names is None
        self._names = names or frozenset()
        self._reads_left = 1 if once else -1
        self._changes: list[Change] = []
        self._rows_changed = RowChanges()

    def get(self, kind: type[R], *key: Value) -> R | None:
        (rows,) = self._rows([Query(kind, dict(zip(KEYS[kind], key, strict=True)))])
        return self._record(kind, rows[0]) if rows else None

    def find(
        self, kind: type[R], *, newest_first: str | None = None, limit: int | None = None, **equal: Value
    ) -> list[R]:
        locks.require_read(self._names, kind, equal)
        rows = self._read(Shape(Verb.SELECT, kind, tuple(equal), newest_first, limit), equal)
        if limit is None:
            self._rows_changed.read_all(kind, equal)
        return [self._record(kind, row) for row in rows]

    def find_from(self, kind: type[R], field: str, bound: int, *, limit: int) -> list[R]:
        locks.require_read(self._names, kind, {})
        rows = self._read(Shape(Verb.SELECT, kind, limit=limit, at_least=field), {BOUND: bound})
        return [self._record(kind, row) for row in rows]

    def find_each(self, *queries: Query) -> list[Any]:
        found = zip(queries, self._rows(queries), strict=True)
        return [
            [self._record(query.kind, row) for row in rows]
            if query.named_by is None
            else self._by_key(query.kind, rows)
            for query, rows in found
        ]

    def page(self, kind: type[R], query: PageQuery) -> list[R]:
        rows = self._looked_up(kind, select_page(TABLES[kind], FIELDS[kind], query), query.equal)
        return [self._record(kind, row) for row in rows]

    def count(self, kind: type[R], **equal: Value) -> int:
        locks.require_read(self._names, kind, equal)
        return int(self._read(Shape(Verb.COUNT, kind, tuple(equal)), equal)[0][0])

    def count_by(self, kind: type[R], field: str, among: Iterable[str] | None = None, **equal: Value) -> dict[str, int]:
        return dict(self._looked_up(kind, select_counts(TABLES[kind], field, among, equal), equal))

    def newest_by(self, kind: type[R], field: str, among: Iterable[str], *, order: str, wanted: str) -> dict[str, Any]:
        (key,) = KEYS[kind]
        return dict(self._looked_up(kind, select_newest(TABLES[kind], field, among, (order, key), wanted), {}))

    def add(self, record: object) -> None:
        self._write(Verb.ADD, record)

    def put(self, record: object) -> None:
        self._write(Verb.PUT, record)

    def delete(self, kind: type[R], **equal: Value) -> None:
        if self._rows_changed.concern(kind):
            self._rows_changed.deleted(self._found(kind, equal))
        self._change(Shape(Verb.DELETE, kind, tuple(equal)), equal)

    def delete_below(self, kind: type[R], field: str, bound: int, **equal: Value) -> None:
        if self._rows_changed.concern(kind):
            self._rows_changed.deleted(one for one in self._found(kind, equal) if getattr(one, field) < bound)
        self._change(Shape(Verb.DELETE, kind, tuple(equal), below=field), {**equal, BOUND: bound})

    def delete_owned(self, kind: type[R], field: str, owners: Query) -> None:
        if self._rows_changed.concern(kind):
            raise locks.UnnamedError(f"{kind.__name__} is audited: the log must know which records are deleted.")
        self.flush()  # the statement sees the owners as they are now
        locks.require_read(self._names, owners.kind, owners.equal)
        shape = Shape(Verb.DELETE, kind, tuple(owners.equal), owned_by=(owners.kind, field))
        self._change(shape, owners.equal)

    def delete_expired(self, kind: type[R], bound: int) -> None:
        locks.require_expiry(self._names)
        self._changes.append((Shape(Verb.EXPIRE, kind), {BOUND: bound}))

    def enter_changes(self) -> None:
        """Add the entries of the log for what has changed in audited tables, behind the changes."""
        self._read_before()
        for item in self._rows_changed.items():
            self.add(item)

    def flush(self) -> None:
        """Bring the changes that wait to the database."""
        self._read_before()
        changes, self._changes = self._changes, []
        if changes and self._is_view:
            raise RuntimeError("A view is changed: a mistake in the program.")
        if not self._is_postgresql:
            for shape, values in changes:
                self._run(self._statements.one(shape), values)
        elif changes:
            for part in groups(changes):
                self._run_together(changes[part])

    def _write(self, verb: Verb, record: object) -> None:
        values = _fields(record)
        self._rows_changed.wrote(record, values, is_new=verb is Verb.ADD)
        self._change(Shape(verb, type(record)), values)

    def _read_before(self) -> None:
        """Read what is about to be replaced unread, while the changes wait: the log says how each row was found."""
        unread = self._rows_changed.take_unread()
        changes, self._changes = self._changes, []
        for at in range(0, len(unread), MOST_TOGETHER):
            self.find_each(*(Query(kind, key) for kind, key in unread[at : at + MOST_TOGETHER]))
        self._changes = changes

    def _found(self, kind: type[R], equal: Values) -> list[R]:
        (rows,) = self._rows([Query(kind, equal)])
        return [self._record(kind, row) for row in rows]

    def _change(self, shape: Shape, values: Values) -> None:
        locks.require_written(self._names, shape.kind, values)
        self._changes.append((shape, values))

    def _rows(self, queries: Sequence[Query]) -> list[list[Row]]:
        """The rows of several queries."""
        for query in queries:
            for kind in filter(None, (query.kind, query.named_by)):
                locks.require_read(self._names, kind, query.equal)
        reads = [(Shape(Verb.SELECT, one.kind, tuple(one.equal), named_by=one.named_by), one.equal) for one in queries]
        self._count_read()
        for query in queries:
            if query.named_by is None:
                self._rows_changed.read_all(query.kind, query.equal)
        if not self._is_postgresql or len(reads) == 1:
            return [self._run(self._statements.one(shape), values).fetchall() for shape, values in reads]
        (row,) = self._run_together(reads)
        return list(row)

    def _looked_up(self, kind: type[Any], query: Select[Any], equal: Values) -> list[Any]:
        """The rows of a query that is built for a person's eyes."""
        locks.require_read(self._names, kind, equal)
        self._count_read()
        return self._run(self._statements.built(query), {}).fetchall()  # type: ignore[no-any-return]

    def _read(self, shape: Shape, values: Values) -> list[Row]:
        self._count_read()
        return self._run(self._statements.one(shape), values).fetchall()  # type: ignore[no-any-return]

    def _count_read(self) -> None:
        if self._reads_left == 0:
            raise RuntimeError("A view for one read is read again: a mistake in the program.")
        self._reads_left -= 1
        self.flush()

    def _run_together(self, several: Sequence[Change]) -> Any:
        shapes, values = zip(*several, strict=True)
        return self._run(self._statements.together(shapes), *values)

    def _run(self, statement: Statement, *values: Values) -> Any:
        """One statement, on PostgreSQL one round trip."""
        parameters = statement.parameters(*values)
        if self._is_postgresql:
            return self._driver.execute(statement.text, parameters, binary=True)
        return self._driver.execute(statement.text, parameters)

    def _by_key(self, kind: type[R], rows: Sequence[Row]) -> dict[Value, R | OperationError]:
        (key,) = KEYS[kind]
        found: dict[Value, R | OperationError] = {}
        for row in rows:
            name = row[FIELDS[kind].index(key)]
            try:
                found[name] = self._record(kind, row)
            except OperationError as error:
                found[name] = error
        return found

    def _record(self, kind: type[R], row: Row) -> R:
        values = list(row)
        for index, convert in _CONVERSIONS[kind]:
            values[index] = convert(values[index])
        record = kind(*values)
        if not self._is_view:
            self._rows_changed.read(record)
        self._admit(record)
        return record


def _conversions(kind: type[Any]) -> list[tuple[int, Callable[[Any], Any]]]:
    """What makes a field of what a driver gives: closed sets, and flags, which are numbers to SQLite."""
    flags = {column.name: bool for column in TABLES[kind].c if isinstance(column.type, Boolean)}
    wanted: dict[str, Callable[[Any], Any]] = {**CLOSED_SETS.get(kind, {}), **flags}
    return [(index, wanted[name]) for index, name in enumerate(FIELDS[kind]) if name in wanted]


_CONVERSIONS = {kind: _conversions(kind) for kind in TABLES}


def _fields(record: object) -> dict[str, Any]:
    return {name: _storable(getattr(record, name)) for name in FIELDS[type(record)]}


def _storable(value: Any) -> Any:
    """Text without NUL, which PostgreSQL refuses, and lone surrogates, which both do: event logs may hold either."""
    if not isinstance(value, str) or (value.isascii() and "\0" not in value):
        return value
    return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
