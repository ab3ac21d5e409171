"""Storage, as the services see it: records in, records out, all in transactions.

What a write transaction has read still holds when it commits: seats, spent codes and replay records depend on it. A
transaction that names nothing is alone in the database. One that names what it decides about (locks.py) runs beside
those that name other things, and may read and write only what its names cover. The one implementation is
:mod:`sealwright_licensing.store_sql`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sealwright_licensing.paging import PageQuery

R = TypeVar("R")
Value = str | int | bytes | bool | None


@dataclass(frozen=True, slots=True)
class Query:
    """Records of a kind whose fields equal the given values."""

    kind: type[Any]
    equal: Mapping[str, Value]
    named_by: type[Any] | None = None
    """Another kind (:func:`query_named`)."""


def query(kind: type[Any], **equal: Value) -> Query:
    """A query for :meth:`Transaction.find_each`."""
    return Query(kind, equal)


def query_named(kind: type[Any], key: Mapping[str, Value], by: type[Any], **equal: Value) -> Query:
    """A query for the record with this primary key, and for those whose keys stand in records of another kind, of which
    fields equal the given values.

    Its result is a mapping by key, and holds the error of a record that is not to be believed in its place.
    """
    return Query(kind, {**key, **equal}, by)


class Transaction(Protocol):
    """Reads and changes that take effect together, or not at all if the block raises.

    Changes reach the database before the next read or at the end of the block, so an error of theirs appears there.
    """

    def get(self, kind: type[R], *key: Value) -> R | None:
        """The record with this primary key."""

    def find(
        self, kind: type[R], *, newest_first: str | None = None, limit: int | None = None, **equal: Value
    ) -> list[R]:
        """Records whose fields equal the given values, ordered by a field, newest first, if one is named; those that
        are equal in it by their key, from the highest down."""

    def find_from(self, kind: type[R], field: str, bound: int, *, limit: int) -> list[R]:
        """Records whose integer field is at least a bound, lowest first."""

    def find_each(self, *queries: Query) -> list[Any]:
        """The records of several queries, a list of them for each, in one round trip."""

    def page(self, kind: type[R], query: PageQuery) -> list[R]:
        """The records that a page shows."""

    def count(self, kind: type[R], **equal: Value) -> int:
        """Number of such records."""

    def count_by(self, kind: type[R], field: str, among: Iterable[str] | None = None, **equal: Value) -> dict[str, int]:
        """Numbers of such records by a field; with ``among``, those that have one of these values."""

    def newest_by(self, kind: type[R], field: str, among: Iterable[str], *, order: str, wanted: str) -> dict[str, Any]:
        """One field of the newest record for each of these values of another; what has no record is left out."""

    def add(self, record: object) -> None:
        """Add a new record."""

    def put(self, record: object) -> None:
        """Add a record, or replace the one with its primary key."""

    def delete(self, kind: type[R], **equal: Value) -> None:
        """Delete such records."""

    def delete_below(self, kind: type[R], field: str, bound: int, **equal: Value) -> None:
        """Delete records whose integer field is below a bound."""

    def delete_owned(self, kind: type[R], field: str, owners: Query) -> None:
        """Delete records that share a field with one of the owners. Only of a table that is not audited."""

    def delete_expired(self, kind: type[R], bound: int) -> None:
        """Delete records whose ``expires_at`` is below a bound, but those that somebody is deleting already."""


class Store(Protocol):
    """A database that holds the records."""

    def read(self) -> AbstractContextManager[Transaction]:
        """A consistent view; changes nothing."""

    def read_once(self) -> AbstractContextManager[Transaction]:
        """The same for one read, which is less work; another one is refused, for it might see another state."""

    def write(self, *names: str) -> AbstractContextManager[Transaction]:
        """A transaction that is alone, or alone with what it names; committed when the block ends without an exception.

        Raises:
            UnnamedError: the block reads or writes what its names do not cover.
        """
