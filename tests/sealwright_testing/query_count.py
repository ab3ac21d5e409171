"""Counts the statements that reach a database and the rows that come back, by what is handed to the driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine, event, text
from sqlalchemy.engine.cursor import BufferedRowCursorFetchStrategy, CursorFetchStrategy

from sealwright_licensing import store_sql
from sealwright_licensing.database import is_postgresql, take_alone
from sealwright_licensing.records import Decision, Device, DeviceRelease, LeaseRecord, NextNonce, RenewalReply
from sealwright_licensing.tables import TABLES
from sealwright_testing.license_world import LicenseWorld

OWNED: tuple[type[Any], ...] = (Device, DeviceRelease, LeaseRecord, NextNonce, RenewalReply, Decision)
"""What each copy of a device has of its own."""


@dataclass
class QueryCount:
    """Since it began; BEGIN, with the locks, and COMMIT are not among the statements."""

    number: int = 0
    """Statements."""
    rows: int = 0
    """Rows that were fetched."""


@contextmanager
def counted_queries() -> Iterator[QueryCount]:
    """Count until the block ends: what the store does."""
    count = QueryCount()
    run = store_sql._SqlTransaction._run

    def counting(self: Any, *arguments: Any) -> Any:
        count.number += 1
        return _CountedCursor(run(self, *arguments), count)

    with patch.object(store_sql._SqlTransaction, "_run", counting):
        yield count


@dataclass
class _CountedCursor:
    """The driver's cursor, as the store uses it."""

    cursor: Any
    count: QueryCount

    def fetchall(self) -> list[Any]:
        """All rows."""
        rows: list[Any] = self.cursor.fetchall()
        self.count.rows += len(rows)
        return rows

    def __iter__(self) -> Iterator[Any]:
        """Of the one row that holds the arrays of several queries."""
        (row,) = self.cursor
        self.count.rows += sum(len(rows) for rows in row)
        yield row


@contextmanager
def counted_engine(engine: Engine) -> Iterator[QueryCount]:
    """Count what is read through SQLAlchemy, not through the store."""
    count = QueryCount()

    def began(*_: Any) -> None:
        count.number += 1

    def fetched(fetch: Any) -> Any:
        def fetching(*arguments: Any, **named: Any) -> Any:
            found = fetch(*arguments, **named)
            count.rows += len(found) if isinstance(found, list) else found is not None
            return found

        return fetching

    event.listen(engine, "before_cursor_execute", began)
    kinds = (CursorFetchStrategy, BufferedRowCursorFetchStrategy)
    patches = [
        patch.object(kind, name, fetched(getattr(kind, name)))
        for kind in kinds
        for name in ("fetchone", "fetchmany", "fetchall")
    ]
    try:
        with ExitStack() as stack:
            for one in patches:
                stack.enter_context(one)
            yield count
    finally:
        event.remove(engine, "before_cursor_execute", began)


def grow_fleet(world: LicenseWorld, number: int) -> None:
    """Copies of one device with one record of each kind, under its licence, until there are so many devices."""
    with world.store._engine.begin() as connection:
        take_alone(connection)
        first, present = connection.execute(text("SELECT min(device_id), count(*) FROM devices")).one()
        for kind in OWNED:
            table = TABLES[kind]
            names = [column.name for column in table.c]
            connection.execute(
                text(
                    f"INSERT INTO {table.name} ({', '.join(names)}) "
                    "WITH RECURSIVE numbers(n) AS (SELECT CAST(:low AS INTEGER) "
                    "UNION ALL SELECT n + 1 FROM numbers WHERE n < :high) "
                    f"SELECT {', '.join(_copied(name, connection.dialect.name) for name in names)} "
                    f"FROM (SELECT * FROM {table.name} WHERE device_id = :first LIMIT 1) AS one CROSS JOIN numbers"
                ),
                {"low": present, "high": number - 1, "first": first},
            )
        if is_postgresql(world.store._engine):
            connection.execute(
                text("ANALYZE")
            )  # autovacuum does so a minute later; until then plans are for a few rows


def _copied(name: str, dialect: str) -> str:
    """A column of a copy: what tells devices apart has the copy's number behind it."""
    if name in ("ak_public", "srk_public"):
        is_postgresql = dialect == "postgresql"
        return f"{name} || convert_to(CAST(n AS TEXT), 'UTF8')" if is_postgresql else f"CAST({name} || n AS BLOB)"
    return f"{name} || '-' || n" if name in ("device_id", "lease_id", "decision_id") else name
