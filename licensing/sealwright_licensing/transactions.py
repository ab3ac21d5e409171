"""How the store's transactions begin and end, on what the driver calls a connection (SQLite) or a cursor (PostgreSQL).

On PostgreSQL each statement is a round trip, BEGIN and COMMIT as well, and SQLAlchemy's own transaction costs more
processor time than either; so a transaction there begins together with its locks, on a connection of SQLAlchemy's pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from psycopg import Error, RawCursor
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine

from sealwright_licensing import locks
from sealwright_licensing.database import EVERYTHING, EXCLUSIVE, is_postgresql

_VIEW = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_CHANGE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


def reading(engine: Engine, *, once: bool = False) -> AbstractContextManager[Any]:
    """A consistent view; of a single statement, if it is good for one read ``once``."""
    if not is_postgresql(engine):
        return _on_sqlite(engine, exclusive=False)
    return _on_postgresql(engine, None if once else _VIEW)


def writing(engine: Engine, names: frozenset[str]) -> AbstractContextManager[Any]:
    """A transaction that has its names, or is alone; committed when the block ends without an exception."""
    if not is_postgresql(engine):
        return _on_sqlite(engine, exclusive=True)
    return _on_postgresql(engine, f"{_CHANGE}; {_locked(names)}")


def _locked(names: frozenset[str]) -> str:
    """Take the locks of the names, in one order for all transactions, before anything is read."""
    if not names:
        return f"SELECT pg_advisory_xact_lock({EVERYTHING})"
    keys = sorted({locks.lock_key(name) for name in names} - {EVERYTHING})
    # PostgreSQL calls the functions of a SELECT from left to right.
    calls = [f"pg_advisory_xact_lock_shared({EVERYTHING})", *(f"pg_advisory_xact_lock({key})" for key in keys)]
    return f"SELECT {', '.join(calls)}"


@contextmanager
def _on_sqlite(engine: Engine, *, exclusive: bool) -> Iterator[Any]:
    with engine.connect().execution_options(**{EXCLUSIVE: exclusive}) as connection, connection.begin():
        yield connection.connection.driver_connection


@contextmanager
def _on_postgresql(engine: Engine, begin: str | None) -> Iterator[RawCursor[Any]]:
    pooled = engine.raw_connection()
    driver: Any = pooled.driver_connection
    try:
        driver.autocommit = True  # the driver would begin by itself, in a round trip of its own
        cursor = RawCursor(driver)
        if begin is not None:
            cursor.execute(begin.encode("ascii"), prepare=False)
        yield cursor
        driver.commit()
    except BaseException:
        with suppress(Error):  # a connection that cannot even roll back is closed below; the first error says why
            driver.rollback()
        raise
    finally:
        if driver.closed or driver.info.transaction_status is not TransactionStatus.IDLE:
            pooled.invalidate()
        else:
            driver.autocommit = False
        pooled.close()
