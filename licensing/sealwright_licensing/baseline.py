"""Rows that the log does not know yet: those from before it, and those that a migration has written anew.

A migration changes columns, and with them the digests of rows. So it enters all rows again, in its own transaction, and
the log says so: an operation, and behind it changes (`baseline`). What is entered would be taken for what the service
wrote, so the same transaction audits the rows first, as they stand in the schema that it leaves.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain, islice

from sqlalchemy import Connection, insert, inspect, select

from sealwright_licensing.actors import Actor
from sealwright_licensing.audit import Report, audit
from sealwright_licensing.audit_keys import AuditKeys
from sealwright_licensing.audit_source import DatabaseSource
from sealwright_licensing.database import is_postgresql
from sealwright_licensing.records import LogQueueItem, Operation
from sealwright_licensing.row_changes import AUDITED, UPGRADE, change_entry, named_entry, queue_item
from sealwright_licensing.tables import TABLES, log_entries, log_queue, operations, releases
from sealwright_policies.transparency.entries import MOST_ROWS, RowState, release_entry

LOGGED_SINCE = "0006"
"""The revision since which there is a log."""


def require_as_logged(connection: Connection, schema: str, keys: AuditKeys) -> Report:
    """Audit the log, and every row against it, and let nobody write into them until the transaction ends.

    Args:
        schema: revision of the database; from before there was a log nothing can be said of its rows.

    Returns:
        Without findings, but for those that persons have acknowledged.

    Raises:
        VerificationError: AUDIT_MISMATCH.
    """
    if schema < LOGGED_SINCE:
        return Report()
    lock_rows(connection)
    report = audit(DatabaseSource(connection), keys.keys, keys.origin, schema=schema)
    report.require_clean(
        "Nothing was migrated, since that enters all rows anew. Find out with `audit verify` what else is wrong and "
        "who wrote it, and restore a backup; or say of each finding what it is, by `audit acknowledge`."
    )
    return report


def lock_rows(connection: Connection) -> None:
    """SQLite has one writer; PostgreSQL would let in whoever does not take the service's own locks."""
    if is_postgresql(connection.engine):
        wanted = {TABLES[kind].name for kind in (*AUDITED, LogQueueItem)}
        tables = sorted(wanted & set(inspect(connection).get_table_names()))
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")


def enter_baseline(connection: Connection, actor: Actor, before: str, after: str) -> int:
    """Enter every row of every audited table, and every release; returns the number of rows.

    Args:
        actor: who migrates.
        before, after: its revisions.
    """
    now = int(time.time())
    upgrade = Operation(secrets.token_hex(16), actor.kind.value, actor.name, UPGRADE, f"{before}-{after}", "{}", now)
    connection.execute(insert(operations), asdict(upgrade))
    add_waiting(connection, queue_item(named_entry(upgrade, [])))
    source = DatabaseSource(connection)
    states = chain.from_iterable((row.state for row in source.rows(kind)) for kind in AUDITED)
    count = 0
    for chunk in _chunks(states):
        count += len(chunk)
        add_waiting(connection, queue_item(change_entry("baseline", chunk, now)))
    known = set(
        connection.execute(select(log_entries.c.subject).where(log_entries.c.entry_kind == "release")).scalars()
    )
    query = select(releases.c.release_id, releases.c.product, releases.c.version)
    for release_id, product, version in connection.execute(query).all():
        if release_id not in known:
            add_waiting(connection, queue_item(release_entry(release_id, product, version)))
    return count


def _chunks(states: Iterator[RowState]) -> Iterator[list[RowState]]:
    while chunk := list(islice(states, MOST_ROWS)):
        yield chunk


def add_waiting(connection: Connection, item: LogQueueItem) -> None:
    """Have an entry wait for its number."""
    values = {name: value for name, value in asdict(item).items() if name != "position"}
    connection.execute(insert(log_queue).inline(), values)
