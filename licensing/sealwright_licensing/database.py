"""The database behind the store: SQLite in a file, or PostgreSQL; connections, and what each kind needs of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError

from sealwright_licensing.config import ServiceConfig, ServiceFolder
from sealwright_licensing.locks import lock_key
from sealwright_licensing.postgresql_names import require_own_names
from sealwright_licensing.row_arrays import RECORDS, RowArrayLoader
from sealwright_licensing.statements import POSTGRESQL
from sealwright_policies.errors import OperationError, UsageError

EVERYTHING = lock_key("everything")
"""Held by every transaction that writes: shared by those with names, exclusively by one without."""
EXCLUSIVE = "sealwright_exclusive"
"""Execution option of a transaction that writes."""
OLDEST_POSTGRESQL = 140000
"""Version 14, as the server numbers it; the tests run on 15."""
POOL_SIZE = 8
"""Connections of one process: as many as decisions are in flight at once (endpoints/calls.py)."""
SPARE_CONNECTIONS = 4
"""For health checks and jobs beside them."""
BUSY_TIMEOUT_S = 15
"""How long a transaction waits for another one, and a request for a connection."""
STATEMENT_TIMEOUT_S = 30
IDLE_TIMEOUT_S = 60
"""A transaction that does nothing for so long belongs to a process that hangs; its names are wanted."""
TRUSTED_IDLE_S = 1.0
"""A connection that was used within this time is taken to be alive; another one is asked."""


def open_engine(url: str, *, password: str | None = None) -> Engine:
    """Open a database.

    Args:
        url: ``sqlite:///FILE``, or ``postgresql+psycopg://USER@HOST/DATABASE`` with libpq's parameters behind it.
        password: of PostgreSQL, from a file of its own (config.py).

    Raises:
        UsageError: another kind of database, or a URL that is none.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError("The database's URL cannot be read.") from error
    if parsed.drivername == "sqlite":
        return _open_sqlite(parsed)
    if parsed.drivername == "postgresql+psycopg":
        return _open_postgresql(parsed, password)
    raise UsageError("The database must be sqlite:FILE or postgresql+psycopg://USER@HOST/DATABASE.")


@contextmanager
def opened_database(folder: ServiceFolder, config: ServiceConfig) -> Iterator[Engine]:
    """A service's database, until the block ends.

    Raises:
        OperationError, UsageError: the URL or the password file is not usable.
    """
    engine = service_engine(folder, config)
    try:
        yield engine
    finally:
        engine.dispose()


def service_engine(folder: ServiceFolder, config: ServiceConfig) -> Engine:
    """A service's database."""
    return open_engine(folder.database_url(config), password=folder.database_password(config))


def _open_sqlite(url: URL) -> Engine:
    """With a write-ahead log, full synchronisation, and transactions that we begin."""
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
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
    exclusive = connection.get_execution_options().get(EXCLUSIVE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if exclusive else "BEGIN")


def _open_postgresql(url: URL, password: str | None) -> Engine:
    if url.password is not None:
        raise UsageError(
            "The database's URL holds a password. Put it into a file that only the service can read, "
            "and name that in config.toml: database_password_file."
        )
    engine = create_engine(
        url if password is None else url.set(password=password),
        pool_size=POOL_SIZE,
        max_overflow=SPARE_CONNECTIONS,
        pool_timeout=BUSY_TIMEOUT_S,
        pool_use_lifo=True,
        use_native_hstore=False,  # it would be looked for before the names are (postgresql_names.py)
        connect_args={
            "application_name": "sealwright-license",
            "connect_timeout": 10,
            "options": " ".join(
                f"-c {setting}"
                for setting in (
                    "synchronous_commit=on",
                    "timezone=UTC",
                    f"statement_timeout={STATEMENT_TIMEOUT_S}s",
                    f"lock_timeout={BUSY_TIMEOUT_S}s",
                    f"idle_in_transaction_session_timeout={IDLE_TIMEOUT_S}s",
                )
            ),
        },
    )
    event.listen(engine, "connect", _require_version)
    event.listen(engine, "connect", require_own_names)
    event.listen(engine, "connect", _read_rows)
    event.listen(engine, "checkout", _require_alive)
    event.listen(engine, "checkin", _note_use)
    return engine


def _require_version(connection: Any, _record: Any) -> None:
    found = connection.info.server_version
    if found < OLDEST_POSTGRESQL:
        raise OperationError(
            f"The database is PostgreSQL {found // 10000}; at least {OLDEST_POSTGRESQL // 10000} is needed.",
            cure="Update the database server.",
        )


def _read_rows(connection: Any, _record: Any) -> None:
    connection.adapters.register_loader(RECORDS, RowArrayLoader)


def _require_alive(connection: Any, record: Any, _proxy: Any) -> None:
    """Ask a connection that has lain idle; SQLAlchemy replaces one that does not answer, and its contemporaries."""
    used_at = record.info.get("used_at")
    if used_at is None or time.monotonic() - used_at < TRUSTED_IDLE_S:
        return

    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()
    except psycopg.Error as error:
        raise DisconnectionError("the connection is gone") from error


def _note_use(_connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def is_postgresql(engine: Engine) -> bool:
    """Whether the database is PostgreSQL."""
    return engine.dialect.name == POSTGRESQL


def take_alone(connection: Connection) -> None:
    """Wait until no other transaction writes, and let none begin; for changes to the schema and copies, which may
    take long."""
    if is_postgresql(connection.engine):
        for timeout in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {timeout} = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({EVERYTHING})")


def refused(engine: Engine, error: Exception) -> OperationError:
    """What a database's refusal is to the caller. Only its first line: PostgreSQL's next ones may show a whole row."""
    said = str(getattr(error, "orig", None) or error).partition("\n")[0].removesuffix(".")
    if is_postgresql(engine):
        return OperationError(
            f"The database refused: {said}.", cure="Check that PostgreSQL runs, and the service's rights there."
        )
    return OperationError(
        f"The database refused: {said}.", cure="Check disk space and permissions of the service's folder."
    )


def describe(engine: Engine) -> str:
    """A database for people, without its password."""
    url = engine.url
    if not is_postgresql(engine):
        return f"SQLite {url.database}"
    return f"PostgreSQL {url.database} at {url.host or url.query.get('host', 'the local socket')}"
