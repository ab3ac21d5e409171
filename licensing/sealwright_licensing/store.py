"""Storage, as the services see it: records in, records out, all in transactions.

A write transaction is exclusive from its first statement on, so that what it has read still holds when it commits:
seats, spent codes and replay records depend on it. The one implementation is :mod:`sealwright_licensing.store_sql`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

R = TypeVar("R")
Value = str | int | bytes | bool | None


class Transaction(Protocol):
    """Reads and changes that take effect together, or not at all if the block raises."""

    def get(self, kind: type[R], *key: Value) -> R | None:
        """The record with this primary key."""

    def find(
        self, kind: type[R], *, newest_first: str | None = None, limit: int | None = None, **equal: Value
    ) -> list[R]:
        """Records whose fields equal the given values, ordered by a field, newest first, if one is named."""

    def count(self, kind: type[R], **equal: Value) -> int:
        """Number of such records."""

    def add(self, record: object) -> None:
        """Add a new record."""

    def put(self, record: object) -> None:
        """Add a record, or replace the one with its primary key."""

    def delete(self, kind: type[R], **equal: Value) -> int:
        """Delete such records; returns how many."""

    def delete_below(self, kind: type[R], field: str, bound: int, **equal: Value) -> int:
        """Delete records whose integer field is below a bound; returns how many."""


class Store(Protocol):
    """A database that holds the records."""

    def read(self) -> AbstractContextManager[Transaction]:
        """A consistent view; changes nothing."""

    def write(self) -> AbstractContextManager[Transaction]:
        """An exclusive transaction, committed when the block ends without an exception."""
