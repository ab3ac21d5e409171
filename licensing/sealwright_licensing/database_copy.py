"""A service's records from one database into another, e.g. from SQLite to PostgreSQL when the service has grown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, Table, func, insert, select
from sqlalchemy.exc import DBAPIError

from sealwright_licensing import schema
from sealwright_licensing.database import EXCLUSIVE, is_postgresql, refused, take_alone
from sealwright_licensing.tables import metadata
from sealwright_policies.errors import OperationError

ROWS = 500
"""Rows at a time."""


def count_records(engine: Engine) -> dict[str, int]:
    """Number of rows of each table.

    Raises:
        OperationError: the database refuses.
    """
    try:
        with engine.connect() as connection:
            return {table.name: _count(connection, table) for table in metadata.sorted_tables}
    except DBAPIError as error:
        raise refused(engine, error) from error


def copy_records(source: Engine, target: Engine) -> dict[str, int]:
    """Make the schema in an empty database, copy all records, and compare what stands there with the source.

    The source takes no writes meanwhile. All of the copy is there afterwards, or none of it.

    Returns:
        Number of rows of each table.

    Raises:
        OperationError: the target is not empty, a database refuses, or the copy is not the same.
    """
    _require_empty(target)
    try:
        with _alone(target) as writing, _alone(source) as reading:
            return {table.name: _copy(reading, writing, table) for table in metadata.sorted_tables}
    except DBAPIError as error:
        is_of_source = isinstance(error.orig, source.dialect.loaded_dbapi.Error)
        raise refused(source if is_of_source else target, error) from error


def _require_empty(target: Engine) -> None:
    """A copy that was cut off has left the schema."""
    if schema.current_revision(target) is None:
        schema.upgrade(target)
    schema.require_newest(target)
    if any(count_records(target).values()):
        raise OperationError("The database that is copied to has records already.", cure="Give an empty database.")


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    with engine.connect().execution_options(**{EXCLUSIVE: True}) as connection, connection.begin():
        take_alone(connection)
        yield connection


def _copy(reading: Connection, writing: Connection, table: Table) -> int:
    for rows in reading.execute(select(table).execution_options(yield_per=ROWS)).partitions():
        writing.execute(insert(table), [dict(row._mapping) for row in rows])
    for column in (column for column in table.c if column.autoincrement is True and is_postgresql(writing.engine)):
        highest = select(func.max(column)).scalar_subquery()  # it counts on from there
        writing.execute(select(func.setval(func.pg_get_serial_sequence(table.name, column.name), highest)))
    found, wanted = _contents(writing, table), _contents(reading, table)
    if found != wanted:
        raise OperationError(
            f"Table {table.name} was copied, and is not the same: {found[0]} rows instead of {wanted[0]}.",
            cure="Nothing was kept. Tell us what is in it.",
        )
    return wanted[0]


def _contents(connection: Connection, table: Table) -> tuple[int, int]:
    """Number of rows, and the sum of their digests, whatever their order."""
    number, digests = 0, 0
    for row in connection.execute(select(table).execution_options(yield_per=ROWS)):
        number += 1
        digests += int.from_bytes(hashlib.sha256(repr(tuple(row)).encode()).digest(), "big")
    return number, digests % 2**256


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())
