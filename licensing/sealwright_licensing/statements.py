"""SQL statements over the tables of the records, built and compiled once for each shape.

Compiling one anew costs more than a database takes to run it; so does SQLAlchemy's execution context, which is why the
driver is given the text. On PostgreSQL each statement is a round trip, so several become one there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from enum import Enum
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Delete,
    Dialect,
    Insert,
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
BOUND = "bound_"
"""The parameter of ``below`` and of EXPIRE; no field is called that."""

MOST_TOGETHER = 16
"""Changes in one statement; each combination is compiled, and remembered, once."""

Values = Mapping[str, Any]


class Verb(Enum):
    """What a statement does."""

    SELECT = "select"
    COUNT = "count"
    ADD = "add"
    PUT = "put"
    DELETE = "delete"
    EXPIRE = "expire"
    """Delete what expired before a bound, but nothing that another transaction has at hand."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A statement apart from its values: ``fields`` equal them, and ``below`` is below a bound."""

    verb: Verb
    kind: type[Any]
    fields: tuple[str, ...] = ()
    newest_first: str | None = None
    limit: int | None = None
    below: str | None = None
    at_least: str | None = None
    """A field that is at least a bound, lowest first."""
    owned_by: tuple[type[Any], str] | None = None
    """``fields`` are those of a kind that owns the records, by a field that both have."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Text for the driver, and what it wants as parameters: by name, or in an order."""

    text: str
    order: tuple[str, ...] | None
    fixed: Values
    """Parameters that belong to the shape."""

    def parameters(self, values: Values) -> Values | tuple[Any, ...]:
        """Values as the driver wants them."""
        full = {**self.fixed, **values} if self.fixed else values
        return full if self.order is None else tuple(full[name] for name in self.order)


class Statements:
    """The statements of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._single: dict[Shape, Statement] = {}
        self._several: dict[tuple[Shape, ...], Statement] = {}

    def one(self, shape: Shape) -> Statement:
        """A statement by itself."""
        known = self._single.get(shape)
        if known is None:
            known = self._single[shape] = self._compiled(_built(shape, self._dialect.name, ""))
        return known

    def together(self, shapes: tuple[Shape, ...]) -> Statement:
        """Several in one, for PostgreSQL: reads, each of which gives a column with an array of rows; or changes, none
        of which sees what another one does. Parameters are those of :func:`numbered`."""
        known = self._several.get(shapes)
        if known is None:
            parts = [self._compiled(_built(one, POSTGRESQL, _prefix(at), in_row=True)) for at, one in enumerate(shapes)]
            if shapes[0].verb is Verb.SELECT:
                text = "SELECT " + ", ".join(f"ARRAY({part.text})" for part in parts)
            else:
                text = f"WITH {', '.join(f'w{at} AS ({part.text})' for at, part in enumerate(parts))} SELECT 1"
            known = self._several[shapes] = Statement(text, None, {})
        return known

    def built(self, query: Select[Any]) -> Statement:
        """A page of records and what belongs to it; compiled each time, for people turn pages slowly and in many
        shapes."""
        return self._compiled(query)

    def _compiled(self, built: Select[Any] | Delete | Insert) -> Statement:
        compiled = built.compile(dialect=self._dialect)
        order = getattr(compiled, "positiontup", None)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        return Statement(str(compiled), None if order is None else tuple(order), fixed)


def numbered(values: Sequence[Values]) -> dict[str, Any]:
    """The parameters of several statements in one."""
    return {_prefix(at) + name: value for at, one in enumerate(values) for name, value in one.items()}


def groups(shapes: Sequence[Shape]) -> Iterator[slice]:
    """Neighbouring changes that may become one statement: of different tables, or new records of one.

    Changes within one statement do not see each other, and PostgreSQL leaves open which of two to one row wins.
    """
    start, verbs = 0, dict[type[Any], Verb]()
    for at, shape in enumerate(shapes):
        is_alike = verbs.get(shape.kind, shape.verb) is shape.verb
        if not is_alike or (shape.kind in verbs and shape.verb is not Verb.ADD) or at - start == MOST_TOGETHER:
            yield slice(start, at)
            start, verbs = at, {}
        verbs[shape.kind] = shape.verb
    yield slice(start, len(shapes))


def _prefix(at: int) -> str:
    return f"p{at}_"


def _built(shape: Shape, dialect: str, prefix: str, *, in_row: bool = False) -> Select[Any] | Delete | Insert:
    table, key = TABLES[shape.kind], KEYS[shape.kind]
    chosen = _equal(table, shape.fields, prefix) if shape.owned_by is None else _owned(table, shape, prefix)
    match shape.verb:
        case Verb.SELECT:
            columns = [table.c[name] for name in FIELDS[shape.kind]]
            found = (select(func.row(*columns)) if in_row else select(*columns)).where(chosen)
            if shape.at_least is not None:
                found = found.where(table.c[shape.at_least] >= _bound(prefix)).order_by(table.c[shape.at_least])
            if shape.newest_first is not None:
                found = found.order_by(*(table.c[name].desc() for name in (shape.newest_first, *key)))
            return found if shape.limit is None else found.limit(shape.limit)
        case Verb.COUNT:
            return select(func.count()).select_from(table).where(chosen)
        case Verb.ADD | Verb.PUT:
            return _insert(table, key if shape.verb is Verb.PUT else (), dialect, prefix)
        case Verb.DELETE:
            gone = delete(table).where(chosen)
            return gone if shape.below is None else gone.where(table.c[shape.below] < _bound(prefix))
        case Verb.EXPIRE:
            columns = [table.c[name] for name in key]
            expired = select(*columns).where(table.c.expires_at < _bound(prefix)).with_for_update(skip_locked=True)
            return delete(table).where(tuple_(*columns).in_(expired))


def _equal(table: Table, fields: tuple[str, ...], prefix: str) -> ColumnElement[bool]:
    return and_(true(), *(table.c[name] == bindparam(prefix + name, type_=table.c[name].type) for name in fields))


def _owned(table: Table, shape: Shape, prefix: str) -> ColumnElement[bool]:
    kind, field = cast(tuple[type[Any], str], shape.owned_by)
    owner = TABLES[kind]
    return table.c[field].in_(select(owner.c[field]).where(_equal(owner, shape.fields, prefix)))


def _bound(prefix: str) -> ColumnElement[int]:
    return bindparam(prefix + BOUND, type_=BigInteger())


def _insert(table: Table, replaced_by: tuple[str, ...], dialect: str, prefix: str) -> Insert:
    new = postgresql.insert(table) if dialect == POSTGRESQL else sqlite.insert(table)
    given = [column for column in table.c if column.autoincrement is not True]
    new = new.values({column.name: bindparam(prefix + column.name, type_=column.type) for column in given})
    if len(given) < len(table.c):  # the database counts the rest up, and nobody reads it here
        new = new.inline()
    if not replaced_by:
        return new
    others = {column.name: new.excluded[column.name] for column in table.c if column.name not in replaced_by}
    if not others:
        return new.on_conflict_do_nothing(index_elements=replaced_by)
    return new.on_conflict_do_update(index_elements=replaced_by, set_=others)
