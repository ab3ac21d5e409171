"""Lists: one page of records each, with the addresses of this page's filter and of the next page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sealwright_licensing.console.pages import Visit, address
from sealwright_licensing.operators.api.pages import ListQuery, format_cursor, parse_cursor
from sealwright_licensing.paging import PageQuery, Position
from sealwright_licensing.store import Store

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class RecordList(Generic[R]):
    """One page of a list."""

    rows: list[R]
    query: ListQuery
    next_page: str | None
    """Address; None on the last page."""
    first_page: str | None
    """Address; None on the first."""


def find_list(
    store: Store,
    visit: Visit,
    kind: type[R],
    query: ListQuery,
    *,
    order: tuple[str, str],
    equal: Mapping[str, Any],
    prefix: Mapping[str, str | None] | None = None,
    since: int | None = None,
    until: int | None = None,
    bound: bool = True,
) -> RecordList[R]:
    """Read one page.

    Args:
        order: the field that orders, newest first, and the field of the id.
        equal, prefix: wanted fields; None wants nothing.
        bound: whether the records belong to licences, so that somebody who is bound to some sees only theirs.

    Raises:
        FormatError: the cursor is none.
    """
    licenses = visit.known.principal.licenses if bound else None
    wanted = PageQuery(
        *order,
        limit=query.limit + 1,
        behind=parse_cursor(query.cursor) if query.cursor is not None else None,
        equal={name: _plain(value) for name, value in equal.items() if value is not None},
        among={"license_id": licenses} if licenses is not None else {},
        prefix={name: value for name, value in (prefix or {}).items() if value is not None},
        since=since,
        until=until,
    )  # fmt: skip
    with store.read() as transaction:
        found = transaction.page(kind, wanted)
    rows = found[: query.limit]
    following = None
    if len(found) > query.limit:
        last = rows[-1]
        following = _address(visit, query, format_cursor(Position(getattr(last, order[0]), getattr(last, order[1]))))
    return RecordList(rows, query, following, _address(visit, query, None) if query.cursor else None)


def _plain(value: str | bool) -> str | bool:
    """The text of a member of a closed set, as the driver takes it."""
    return value if isinstance(value, bool) else str(value)


def _address(visit: Visit, query: ListQuery, cursor: str | None) -> str:
    given = query.model_dump(mode="json", exclude_defaults=True) | {"cursor": cursor}
    return address(visit.request.url.path, given)
