"""The store on a SQL database: SQLite in a file now; nothing here but the pragmas is SQLite's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar, cast

from sealwright_policies.errors import OperationError
from sqlalchemy import Connection, Engine, Table, create_engine, delete, event, func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.exc import DBAPIError

from sealwright_licensing.store import Transaction, Value
from sealwright_licensing.tables import ENUMS, TABLES

R = TypeVar("R")

_EXCLUSIVE = "sealwright_exclusive"
_BUSY_TIMEOUT_S = 15


def open_engine(url: str) -> Engine:
    """Open a database; for SQLite with a write-ahead log, full synchronisation, and transactions that we begin."""
    is_sqlite = url.startswith("sqlite")
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S} if is_sqlite else {})
    if is_sqlite:
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

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

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
                yield _SqlTransaction(connection)
        except DBAPIError as error:
            raise OperationError(
                f"The database refused: {error.orig}.",
                cure="Check disk space and permissions of the service's folder.",
            ) from error


class _SqlTransaction:
    """Implements :class:`sealwright_licensing.store.Transaction` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, kind: type[R], *key: Value) -> R | None:
        table = _table(kind)
        names = [column.name for column in table.primary_key]
        query = select(table).filter_by(**dict(zip(names, key, strict=True)))
        row = self._connection.execute(query).one_or_none()
        return None if row is None else _record(kind, row)

    def find(
        self, kind: type[R], *, newest_first: str | None = None, limit: int | None = None, **equal: Value
    ) -> list[R]:
        table = _table(kind)
        query = select(table).filter_by(**equal)
        if newest_first is not None:
            query = query.order_by(table.c[newest_first].desc())
        if limit is not None:
            query = query.limit(limit)
        return [_record(kind, row) for row in self._connection.execute(query)]

    def count(self, kind: type[R], **equal: Value) -> int:
        query = select(func.count()).select_from(_table(kind)).filter_by(**equal)
        return int(self._connection.execute(query).scalar_one())

    def add(self, record: object) -> None:
        self._connection.execute(insert(_table(type(record))).values(**_fields(record)))

    def put(self, record: object) -> None:
        table, fields = _table(type(record)), _fields(record)
        key = {column.name: fields.pop(column.name) for column in table.primary_key}
        if fields:
            changed = self._connection.execute(update(table).filter_by(**key).values(**fields)).rowcount
        else:
            changed = self._connection.execute(select(func.count()).select_from(table).filter_by(**key)).scalar_one()
        if not changed:
            self.add(record)

    def delete(self, kind: type[R], **equal: Value) -> int:
        return self._connection.execute(delete(_table(kind)).filter_by(**equal)).rowcount

    def delete_below(self, kind: type[R], field: str, bound: int, **equal: Value) -> int:
        table = _table(kind)
        return self._connection.execute(delete(table).filter_by(**equal).where(table.c[field] < bound)).rowcount


def _table(kind: type[object]) -> Table:
    return TABLES[kind]


def _fields(record: object) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(cast(Any, record))}


def _record(kind: type[R], row: Row[Any]) -> R:
    values = dict(row._mapping)
    for (owner, field), closed_set in ENUMS.items():
        if owner is kind:
            values[field] = closed_set(values[field])
    return kind(**values)
