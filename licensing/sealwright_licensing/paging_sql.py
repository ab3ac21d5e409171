"""The SQL of a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, false, func, or_, select

from sealwright_licensing.paging import PageQuery


def select_page(table: Table, chosen: Sequence[str], query: PageQuery) -> Select[Any]:
    """The statement for a page; the driver is given its values beside it."""
    order, key = table.c[query.order_by], table.c[query.id_field]
    wanted: list[ColumnElement[bool]] = [table.c[name] == value for name, value in query.equal.items()]
    wanted += [one_of(table.c[name], values) for name, values in query.among.items()]
    # substr, not LIKE: SQLite's LIKE does not tell letters' case apart.
    wanted += [func.substr(table.c[name], 1, len(text)) == text for name, text in query.prefix.items()]
    if query.since is not None:
        wanted.append(order >= query.since)
    if query.until is not None:
        wanted.append(order <= query.until)
    if query.behind is not None:
        at, last = query.behind
        wanted.append(and_(order <= at, or_(order < at, key < last)))
    return (
        select(*(table.c[name] for name in chosen)).where(*wanted).order_by(order.desc(), key.desc()).limit(query.limit)
    )


def one_of(column: ColumnElement[Any], values: Iterable[str]) -> ColumnElement[bool]:
    """Whether a column has one of these values; none of none."""
    return or_(false(), *(column == value for value in sorted(values)))
