"""Entries of the log by what they are about, a page at a time, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError

from sealwright_licensing.tables import log_entries
from sealwright_policies.errors import OperationError

SEARCHED: Mapping[str, str] = {
    "kind": "entry_kind",
    "code": "code",
    "device": "device_id",
    "license": "license_id",
    "subject": "subject",
}
"""What entries are found by, and its column."""


def find_entries(
    engine: Engine,
    wanted: Mapping[str, str],
    *,
    since: int | None = None,
    until: int | None = None,
    before: int | None = None,
    limit: int,
) -> list[dict[str, Any]]:
    """One page of entries.

    Args:
        wanted: names of SEARCHED and their values.
        since, until: seconds since the epoch.
        before: index of the last entry of the page before this one.

    Raises:
        OperationError: the database cannot be read.
    """
    table = log_entries.c
    query = select(log_entries).order_by(table.entry_index.desc()).limit(limit)
    for name, value in wanted.items():
        query = query.where(table[SEARCHED[name]] == value)
    if since is not None:
        query = query.where(table.at >= since)
    if until is not None:
        query = query.where(table.at < until)
    if before is not None:
        query = query.where(table.entry_index < before)
    try:
        with engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
    except DBAPIError as error:
        said = str(error.orig).partition("\n")[0]
        raise OperationError(f"The database cannot be read: {said}.", cure="Check its path and rights.") from error
    return [
        {"index": row["entry_index"], "at": row["at"], **{name: row[column] for name, column in SEARCHED.items()}}
        for row in rows
    ]
