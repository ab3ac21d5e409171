"""What the migrations make, up to any revision: they are run on an empty SQLite in memory.

So the audit can hold a database of an older schema against it too, before an upgrade.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from alembic import command
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from sealwright_licensing.postgresql_tables import MadeColumn, MadeTable
from sealwright_licensing.revisions import migrations
from sealwright_licensing.sqlite_objects import Stored, stored

_TYPES = {
    "TEXT": "text", "VARCHAR(32)": "varchar", "BIGINT": "int8", "INTEGER": "int4", "BOOLEAN": "bool", "BLOB": "bytea",
}  # fmt: skip
"""PostgreSQL's names of what the migrations write."""
_COUNTED = ("log_queue", "position")
"""Counted up by the database: INTEGER on SQLite, where that is 8 bytes."""


@dataclass(frozen=True, slots=True)
class Made:
    """A schema."""

    objects: tuple[Stored, ...]
    """SQLite's."""
    tables: tuple[MadeTable, ...]
    """For PostgreSQL."""


@cache
def made_at(revision: str) -> Made:
    """The schema of a revision."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        with engine.begin() as connection:
            command.upgrade(migrations(connection), revision)
            objects = stored_objects(connection)
            tables = tuple(_table(connection, one.name) for one in objects if one.type == "table")
    finally:
        engine.dispose()
    return Made(objects, tables)


def stored_objects(connection: Connection) -> tuple[Stored, ...]:
    """All of a SQLite database."""
    rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master")
    return tuple(stored(*row) for row in rows)


def _table(connection: Connection, name: str) -> MadeTable:
    columns, key = [], {}
    rows = connection.exec_driver_sql('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (name,))
    for column, type_, is_required, place in rows:
        is_counted = (name, column) == _COUNTED
        kind = "int8" if is_counted else _TYPES[type_]
        columns.append(MadeColumn(column, kind, is_required=bool(is_required), is_counted=is_counted))
        if place:
            key[place] = column
    return MadeTable(name, tuple(columns), tuple(key[place] for place in sorted(key)))
