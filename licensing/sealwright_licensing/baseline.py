"""Rows that the log does not know yet: those from before it, and those that a migration has written anew.

A migration changes columns, and with them the digests of rows. So an upgrade of the schema enters all rows again, in
its own transaction, and the log says so: an operation, and behind it changes (`baseline`). Audit before you migrate:
what was changed until then passes into the new digests.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain, islice

from sqlalchemy import Connection, insert, select

from sealwright_licensing.actors import Actor
from sealwright_licensing.audit_source import DatabaseSource
from sealwright_licensing.records import LogQueueItem, Operation
from sealwright_licensing.row_changes import AUDITED, UPGRADE, change_entry, named_entry, queue_item
from sealwright_licensing.tables import log_entries, log_queue, operations, releases
from sealwright_policies.transparency.entries import MOST_ROWS, RowState, release_entry


def enter_baseline(connection: Connection, actor: Actor, before: str, after: str) -> int:
    """Enter every row of every audited table, and every release; returns the number of rows.

    Args:
        actor: who upgrades the schema.
        before, after: its revisions.
    """
    now = int(time.time())
    upgrade = Operation(secrets.token_hex(16), actor.kind.value, actor.name, UPGRADE, f"{before}-{after}", "{}", now)
    connection.execute(insert(operations), asdict(upgrade))
    _wait(connection, queue_item(named_entry(upgrade, [])))
    source = DatabaseSource(connection)
    states = chain.from_iterable((row.state for row in source.rows(kind)) for kind in AUDITED)
    count = 0
    for chunk in _chunks(states):
        count += len(chunk)
        _wait(connection, queue_item(change_entry("baseline", chunk, now)))
    known = set(
        connection.execute(select(log_entries.c.subject).where(log_entries.c.entry_kind == "release")).scalars()
    )
    query = select(releases.c.release_id, releases.c.product, releases.c.version)
    for release_id, product, version in connection.execute(query).all():
        if release_id not in known:
            _wait(connection, queue_item(release_entry(release_id, product, version)))
    return count


def _chunks(states: Iterator[RowState]) -> Iterator[list[RowState]]:
    while chunk := list(islice(states, MOST_ROWS)):
        yield chunk


def _wait(connection: Connection, item: LogQueueItem) -> None:
    values = {name: value for name, value in asdict(item).items() if name != "position"}
    connection.execute(insert(log_queue).inline(), values)
