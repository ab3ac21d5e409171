"""The store on a SQL database: SQLite in a file now. Its own here: the pragmas, and the lock of a write transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Engine,
    Insert,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.engine import Row
from sqlalchemy.exc import DBAPIError

from sealwright_licensing.store import Transaction, Value
from sealwright_licensing.tables import CLOSED_SETS, TABLES
from sealwright_policies.errors import OperationError, UsageError

R = TypeVar("R")

_EXCLUSIVE = "sealwright_exclusive"
_BUSY_TIMEOUT_S = 15


def open_engine(url: str) -> Engine:
    """Open a database with a write-ahead log, full synchronisation, and transactions that we begin.

    Raises:
        UsageError: not SQLite. Seats and activation codes are counted behind a lock that others would not take.
    """
    if not url.startswith("sqlite:"):
        raise UsageError("The database must be SQLite: sqlite:FILE.")
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver would begin transactions too late, after the first read
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    exclusive = connection.get_execution_options().get(_EXCLUSIVE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if exclusive else "BEGIN")


class SqlStore:
    """Implements :class:`sealwright_licensing.store.Store`."""

    def __init__(self, engine: Engine, admit: Callable[[object], None] = lambda _: None) -> None:
        """``admit`` sees each record that is read, and raises for one that must not be believed."""
        self._engine = engine
        self._admit = admit

    def read(self) -> AbstractContextManager[Transaction]:
        """A consistent view."""
        return self._transaction(exclusive=False)

    def write(self) -> AbstractContextManager[Transaction]:
        """An exclusive transaction."""
        return self._transaction(exclusive=True)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, *, exclusive: bool) -> Iterator[Transaction]:
        try:
            with self._engine.connect().execution_options(**{_EXCLUSIVE: exclusive}) as connection, connection.begin():
                yield _SqlTransaction(connection, self._admit)
        except DBAPIError as error:
            raise OperationError(
                f"The database refused: {error.orig}.",
                cure="Check disk space and permissions of the service's folder.",
            ) from error


class _SqlTransaction:
    """Implements :class:`sealwright_licensing.store.Transaction` on one connection."""

    def __init__(self, connection: Connection, admit: Callable[[object], None]) -> None:
        self._connection = connection
        self._admit = admit

    def get(self, kind: type[R], *key: Value) -> R | None:
        values = dict(zip(_key_fields(TABLES[kind]), key, strict=True))
        row = self._connection.execute(_select(TABLES[kind], tuple(values), None, None), values).one_or_none()
        return None if row is None else self._record(kind, row)

    def find(
        self, kind: type[R], *, newest_first: str | None = None, limit: int | None = None, **equal: Value
    ) -> list[R]:
        query = _select(TABLES[kind], tuple(equal), newest_first, limit)
        return [self._record(kind, row) for row in self._connection.execute(query, equal)]

    def count(self, kind: type[R], **equal: Value) -> int:
        return int(self._connection.execute(_count(TABLES[kind], tuple(equal)), equal).scalar_one())

    def add(self, record: object) -> None:
        self._connection.execute(_insert(TABLES[type(record)]), _fields(record))

    def put(self, record: object) -> None:
        values = {_BOUND + name: value for name, value in _fields(record).items()}
        if not self._connection.execute(_update(TABLES[type(record)]), values).rowcount:
            self.add(record)

    def delete(self, kind: type[R], **equal: Value) -> int:
        return self._connection.execute(_delete(TABLES[kind], tuple(equal), None), equal).rowcount

    def delete_below(self, kind: type[R], field: str, bound: int, **equal: Value) -> int:
        return self._connection.execute(_delete(TABLES[kind], tuple(equal), field), {**equal, _LIMIT: bound}).rowcount

    def _record(self, kind: type[R], row: Row[Any]) -> R:
        values = dict(row._mapping)
        for field, closed_set in CLOSED_SETS.get(kind, {}).items():
            values[field] = closed_set(values[field])
        record = kind(**values)
        self._admit(record)
        return record


_BOUND = "new_"
"""Prefix of bind names in an UPDATE, whose plain names SQLAlchemy keeps for itself."""
_LIMIT = "bound_"

# Statements are built once for each shape: building them anew costs more than SQLite takes to run them.


def _equal(table: Table, fields: tuple[str, ...]) -> ColumnElement[bool]:
    return and_(true(), *(table.c[name] == bindparam(name) for name in fields))


@cache
def _select(table: Table, fields: tuple[str, ...], newest_first: str | None, limit: int | None) -> Select[Any]:
    query = select(table).where(_equal(table, fields))
    if newest_first is not None:
        query = query.order_by(table.c[newest_first].desc())
    return query if limit is None else query.limit(limit)


@cache
def _count(table: Table, fields: tuple[str, ...]) -> Select[Any]:
    return select(func.count()).select_from(table).where(_equal(table, fields))


@cache
def _insert(table: Table) -> Insert:
    return insert(table)


@cache
def _update(table: Table) -> Update:
    chosen = and_(*(table.c[name] == bindparam(_BOUND + name) for name in _key_fields(table)))
    return update(table).where(chosen).values({name: bindparam(_BOUND + name) for name in table.c.keys()})  # noqa: SIM118


@cache
def _delete(table: Table, fields: tuple[str, ...], below: str | None) -> Delete:
    statement = delete(table).where(_equal(table, fields))
    return statement if below is None else statement.where(table.c[below] < bindparam(_LIMIT))


@cache
def _key_fields(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.primary_key)


def _fields(record: object) -> dict[str, Any]:
    return {name: getattr(record, name) for name in TABLES[type(record)].c.keys()}  # noqa: SIM118 - of columns
