"""Lists in pages: the query's common part, the cursor, the reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from sealwright_licensing.operators.principals import Principal
from sealwright_licensing.operators.views import View
from sealwright_licensing.paging import PageQuery, Position
from sealwright_licensing.store import Store, Transaction
from sealwright_policies.errors import FormatError

R = TypeVar("R")
V = TypeVar("V", bound=View)

_CURSOR = re.compile(r"([0-9]{1,18})\.([A-Za-z0-9][A-Za-z0-9._-]{0,127})")
Time = Annotated[int, Field(ge=0, lt=2**53)]
Filter = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]


class ListQuery(BaseModel):
    """What every list takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str | None, Field(max_length=160, description="`next_cursor` of the page before.")] = None


class Page(View, Generic[V]):
    """A page of a list, newest first."""

    items: list[V]
    next_cursor: str | None
    """For the next page; None on the last."""


def parse_cursor(text: str) -> Position:
    """The place where a page begins.

    Raises:
        FormatError: it is no cursor.
    """
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise FormatError("cursor: expected `next_cursor` of the page before.")
    return Position(int(found.group(1)), found.group(2))


def format_cursor(position: Position) -> str:
    """The way back."""
    return f"{position.at}.{position.id}"


def find_page(
    store: Store,
    kind: type[R],
    shown: Callable[[Transaction, Sequence[R]], list[V]],
    asked: ListQuery,
    *,
    order: tuple[str, str],
    scope: Principal | None = None,
    equal: Mapping[str, str | bool | None] | None = None,
    prefix: Mapping[str, str | None] | None = None,
    since: int | None = None,
    until: int | None = None,
) -> Page[V]:
    """One page of records as they are shown.

    Args:
        shown: how the records of a page are shown, all in the same number of statements.
        order: the field that orders, newest first, and the field of the id.
        scope: who asks, where the records belong to licences: he gets those of his.
        equal, prefix: wanted fields; None wants nothing.
    """
    bound = scope.licenses if scope is not None else None
    query = PageQuery(
        *order,
        limit=asked.limit + 1,
        behind=parse_cursor(asked.cursor) if asked.cursor is not None else None,
        equal=_wanted(equal),
        among={"license_id": bound} if bound is not None else {},
        prefix=_wanted(prefix),
        since=since,
        until=until,
    )
    with store.read() as transaction:
        found = transaction.page(kind, query)
        items = shown(transaction, found[: asked.limit])
    more = len(found) > asked.limit
    last = found[asked.limit - 1] if more else None
    cursor = format_cursor(Position(getattr(last, order[0]), getattr(last, order[1]))) if last is not None else None
    return Page(items=items, next_cursor=cursor)


def alone(shown: Callable[[R], V]) -> Callable[[Transaction, Sequence[R]], list[V]]:
    """For :func:`find_page`: records that are shown without looking anything up."""
    return lambda _, records: [shown(one) for one in records]


def _wanted(fields: Mapping[str, Any] | None) -> dict[str, Any]:
    given = {name: value for name, value in (fields or {}).items() if value is not None}
    return {name: str(value) if isinstance(value, str) else value for name, value in given.items()}  # StrEnum: its text
