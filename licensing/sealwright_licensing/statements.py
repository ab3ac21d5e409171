"""SQL statements over the tables of the records, built and compiled once for each shape.

Compiling one anew costs more than a database takes to run it; so does SQLAlchemy's execution context, which is why the
driver is given the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from functools import cache
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Delete,
    Dialect,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from sealwright_licensing.paging import PageQuery
from sealwright_licensing.paging_sql import select_page
from sealwright_licensing.tables import TABLES

POSTGRESQL = "postgresql"
FIELDS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(field.name for field in dataclass_fields(cast(Any, kind))) for kind in TABLES
}
"""Fields of each record, in its own order, which is that of a SELECT."""
KEYS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(column.name for column in table.primary_key) for kind, table in TABLES.items()
}
"""Fields of each record's primary key."""
_LIMIT = "bound_"
"""Parameter of ``below``; no field is called that."""

_Built = Select[Any] | Delete | postgresql.Insert | sqlite.Insert
Parameters = Mapping[str, Any] | tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """Text for the driver, and what it wants as parameters: by name, or in an order."""

    text: str
    order: tuple[str, ...] | None
    fixed: Mapping[str, Any]
    """Parameters that belong to the shape."""

    def parameters(self, values: Mapping[str, Any]) -> Parameters:
        """Values as the driver wants them."""
        full = {**self.fixed, **values} if self.fixed else values
        return full if self.order is None else tuple(full[name] for name in self.order)


class Statements:
    """The statements of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._compiled: dict[_Built, Statement] = {}

    def select(
        self, kind: type[Any], fields: tuple[str, ...], newest_first: str | None = None, limit: int | None = None
    ) -> Statement:
        """Records by fields."""
        return self._of(_select(TABLES[kind], FIELDS[kind], fields, newest_first, limit))

    def page(self, kind: type[Any], query: PageQuery) -> Statement:
        """A page of records; compiled each time, for people turn pages slowly and in many shapes."""
        return self._compile(select_page(TABLES[kind], FIELDS[kind], query))

    def count(self, kind: type[Any], fields: tuple[str, ...]) -> Statement:
        """Their number."""
        return self._of(_count(TABLES[kind], fields))

    def add(self, kind: type[Any]) -> Statement:
        """A new record."""
        return self._of(_insert(TABLES[kind], (), self._dialect.name))

    def put(self, kind: type[Any]) -> Statement:
        """A new record, or one in the place of another."""
        return self._of(_insert(TABLES[kind], KEYS[kind], self._dialect.name))

    def delete(self, kind: type[Any], fields: tuple[str, ...], below: str | None = None) -> Statement:
        """Removal by fields, and by a field that is below a bound."""
        return self._of(_delete(TABLES[kind], fields, below))

    def delete_expired(self, kind: type[Any]) -> Statement:
        """Removal of what expired before a bound, except what another transaction is at."""
        return self._of(_delete_expired(TABLES[kind], KEYS[kind]))

    def _of(self, built: _Built) -> Statement:
        known = self._compiled.get(built)
        if known is None:
            known = self._compile(built)
            self._compiled[built] = known
        return known

    def _compile(self, built: _Built) -> Statement:
        compiled = built.compile(dialect=self._dialect)
        order = getattr(compiled, "positiontup", None)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        return Statement(str(compiled), None if order is None else tuple(order), fixed)


def bound_parameter(value: int) -> dict[str, int]:
    """The parameter of ``below`` and of ``delete_expired``."""
    return {_LIMIT: value}


def _equal(table: Table, fields: tuple[str, ...]) -> ColumnElement[bool]:
    return and_(true(), *(table.c[name] == bindparam(name, type_=table.c[name].type) for name in fields))


def _bound() -> ColumnElement[int]:
    return bindparam(_LIMIT, type_=BigInteger())


@cache
def _select(
    table: Table, chosen: tuple[str, ...], fields: tuple[str, ...], newest_first: str | None, limit: int | None
) -> Select[Any]:
    found = select(*(table.c[name] for name in chosen)).where(_equal(table, fields))
    if newest_first is not None:
        found = found.order_by(table.c[newest_first].desc())
    return found if limit is None else found.limit(limit)


@cache
def _count(table: Table, fields: tuple[str, ...]) -> Select[Any]:
    return select(func.count()).select_from(table).where(_equal(table, fields))


@cache
def _insert(table: Table, replaced_by: tuple[str, ...], dialect: str) -> postgresql.Insert | sqlite.Insert:
    new = postgresql.insert(table) if dialect == POSTGRESQL else sqlite.insert(table)
    if not replaced_by:
        return new
    others = {column.name: new.excluded[column.name] for column in table.c if column.name not in replaced_by}
    if not others:
        return new.on_conflict_do_nothing(index_elements=replaced_by)
    return new.on_conflict_do_update(index_elements=replaced_by, set_=others)


@cache
def _delete(table: Table, fields: tuple[str, ...], below: str | None) -> Delete:
    chosen = delete(table).where(_equal(table, fields))
    return chosen if below is None else chosen.where(table.c[below] < _bound())


@cache
def _delete_expired(table: Table, key: tuple[str, ...]) -> Delete:
    columns = [table.c[name] for name in key]
    expired = select(*columns).where(table.c.expires_at < _bound()).with_for_update(skip_locked=True)
    return delete(table).where(tuple_(*columns).in_(expired))
