"""The SQL of what belongs to a page of records: one statement for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, func, select

from sealwright_licensing.paging_sql import one_of


def select_counts(table: Table, field: str, among: Iterable[str] | None, equal: Mapping[str, Any]) -> Select[Any]:
    """Numbers of rows by a field."""
    wanted: list[ColumnElement[bool]] = [table.c[name] == value for name, value in equal.items()]
    if among is not None:
        wanted.append(one_of(table.c[field], among))
    return select(table.c[field], func.count()).where(*wanted).group_by(table.c[field])


def select_newest(table: Table, field: str, among: Iterable[str], order: tuple[str, str], wanted: str) -> Select[Any]:
    """One column of the newest row for each value of a field; ``order`` is a time, and the key for rows of one time."""
    newest_first = [table.c[name].desc() for name in order]
    place = func.row_number().over(partition_by=table.c[field], order_by=newest_first).label("place")
    found = select(table.c[field], table.c[wanted], place).where(one_of(table.c[field], among)).subquery()
    return select(found.c[field], found.c[wanted]).where(found.c.place == 1)
