"""Lists of the command: all records, a page at a time, with what belongs to a page looked up at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from sealwright_licensing.paging import PageQuery, Position
from sealwright_licensing.store import Transaction

R = TypeVar("R")
PAGE = 200
"""Records of a page."""


def each_page(
    transaction: Transaction,
    kind: type[R],
    order: tuple[str, str],
    *,
    since: int | None = None,
    until: int | None = None,
    **equal: str | bool | None,
) -> Iterator[list[R]]:
    """Pages of records, newest first.

    Args:
        order: the field that orders, and the field of the id.
        since, until: bounds of the field that orders, both included.
        equal: wanted fields; None wants nothing.
    """
    behind: Position | None = None
    while True:
        query = PageQuery(
            *order,
            PAGE,
            behind,
            equal={name: value for name, value in equal.items() if value is not None},
            since=since,
            until=until,
        )
        found = transaction.page(kind, query)
        if found:
            yield found
        if len(found) < PAGE:
            return
        behind = Position(*(getattr(found[-1], name) for name in order))
