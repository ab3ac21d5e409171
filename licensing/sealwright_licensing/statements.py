"""SQL statements over the tables of the records, built and compiled once for each shape.

Compiling one anew costs more than a database takes to run it; so does SQLAlchemy's execution context, which is why the
driver is given the text, with the database's own placeholders: psycopg reads its kind anew each time in a long text.
On PostgreSQL each statement is a round trip, so several become one there.
"""

from __future__ import annotations

import re
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
    union,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql.compiler import SQLCompiler

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
    named_by: type[Any] | None = None
    """A kind with this one's key, which is the first of ``fields``; the others are fields of that kind."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Text for the driver, and what it wants as parameters."""

    text: str
    order: tuple[tuple[int, str], ...]
    """Of each parameter: which shape of several it belongs to, and its name there."""
    fixed: Values
    """Parameters that belong to the shape, if it is one alone."""

    def parameters(self, *several: Values) -> tuple[Any, ...]:
        """The values of each shape as the driver wants them."""
        if self.fixed:
            (values,) = several
            several = ({**self.fixed, **values},)
        return tuple([several[at][name] for at, name in self.order])


class Statements:
    """The statements of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        if dialect.name == POSTGRESQL:
            self._dialect = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
        self._single: dict[Shape, Statement] = {}
        self._parts: dict[Shape, Statement] = {}
        self._several: dict[tuple[Shape, ...], Statement] = {}

    def one(self, shape: Shape) -> Statement:
        """A statement by itself."""
        known = self._single.get(shape)
        if known is None:
            known = self._single[shape] = self._compiled(_built(shape, self._dialect.name))
        return known

    def together(self, shapes: tuple[Shape, ...]) -> Statement:
        """Several in one, for PostgreSQL: reads, each of which gives a column with an array of rows; or changes, none
        of which sees what another one does."""
        known = self._several.get(shapes)
        if known is None:
            texts, order = list[str](), list[tuple[int, str]]()
            for at, shape in enumerate(shapes):
                part = self._part(shape)
                texts.append(_renumbered(part.text, len(order)))
                order += [(at, name) for _, name in part.order]
            if shapes[0].verb is Verb.SELECT:
                text = "SELECT " + ", ".join(f"ARRAY({part})" for part in texts)
            else:
                text = f"WITH {', '.join(f'w{at} AS ({part})' for at, part in enumerate(texts))} SELECT 1"
            known = self._several[shapes] = Statement(text, tuple(order), {})
        return known

    def _part(self, shape: Shape) -> Statement:
        known = self._parts.get(shape)
        if known is None:
            known = self._parts[shape] = self._compiled(_built(shape, POSTGRESQL, in_row=True))
        return known

    def built(self, query: Select[Any]) -> Statement:
        """A page of records and what belongs to it; compiled each time, for people turn pages slowly and in many
        shapes."""
        return self._compiled(query)

    def _compiled(self, built: Select[Any] | Delete | Insert) -> Statement:
        compiled = built.compile(dialect=self._dialect)
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - what a statement compiles to
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        return Statement(str(compiled), tuple((0, name) for name in compiled.positiontup or ()), fixed)


def _renumbered(text: str, before: int) -> str:
    """PostgreSQL's placeholders, $1 and so on, behind so many others."""
    return re.sub(r"\$(\d+)", lambda found: f"${int(found[1]) + before}", text)


Change = tuple[Shape, Values]


def groups(changes: Sequence[Change]) -> Iterator[slice]:
    """Neighbouring changes that may become one statement: of different tables, new records of one, or new records that
    a deletion before them leaves alone.

    Changes within one statement do not see each other, and PostgreSQL leaves open which of two to one row wins.
    """
    start, before = 0, dict[type[Any], Change]()
    for at, change in enumerate(changes):
        if at - start == MOST_TOGETHER or not _is_apart(change, before.get(change[0].kind)):
            yield slice(start, at)
            start, before = at, {}
        before.setdefault(change[0].kind, change)
    yield slice(start, len(changes))


def _is_apart(change: Change, first: Change | None) -> bool:
    """Whether a change is to other rows than the first of a statement to its table, and than new ones behind that."""
    if first is None:
        return True
    (shape, values), (first_shape, bounds) = change, first
    if shape.verb is not Verb.ADD:
        return False
    if first_shape.verb is Verb.DELETE and first_shape.below is not None:
        return bool(values[first_shape.below] >= bounds[BOUND])
    return first_shape.verb is Verb.ADD


def _built(shape: Shape, dialect: str, *, in_row: bool = False) -> Select[Any] | Delete | Insert:
    table, key = TABLES[shape.kind], KEYS[shape.kind]
    match shape.verb:
        case Verb.SELECT:
            columns = [table.c[name] for name in FIELDS[shape.kind]]
            found = (select(func.row(*columns)) if in_row else select(*columns)).where(_chosen(shape))
            if shape.at_least is not None:
                found = found.where(table.c[shape.at_least] >= _bound()).order_by(table.c[shape.at_least])
            if shape.newest_first is not None:
                found = found.order_by(*(table.c[name].desc() for name in (shape.newest_first, *key)))
            return found if shape.limit is None else found.limit(shape.limit)
        case Verb.COUNT:
            return select(func.count()).select_from(table).where(_chosen(shape))
        case Verb.ADD | Verb.PUT:
            return _insert(table, key if shape.verb is Verb.PUT else (), dialect)
        case Verb.DELETE:
            gone = delete(table).where(_chosen(shape))
            return gone if shape.below is None else gone.where(table.c[shape.below] < _bound())
        case Verb.EXPIRE:
            columns = [table.c[name] for name in key]
            expired = select(*columns).where(table.c.expires_at < _bound()).with_for_update(skip_locked=True)
            return delete(table).where(tuple_(*columns).in_(expired))


def _chosen(shape: Shape) -> ColumnElement[bool]:
    table = TABLES[shape.kind]
    if shape.owned_by is not None:
        return _owned(table, shape)
    if shape.named_by is None:
        return _equal(table, shape.fields)
    key, *fields = shape.fields
    naming = TABLES[shape.named_by]
    named = select(naming.c[key]).where(_equal(naming, fields))
    return table.c[key].in_(union(named, select(_parameter(table, key))))


def _owned(table: Table, shape: Shape) -> ColumnElement[bool]:
    kind, field = cast(tuple[type[Any], str], shape.owned_by)
    owner = TABLES[kind]
    return table.c[field].in_(select(owner.c[field]).where(_equal(owner, shape.fields)))


def _equal(table: Table, fields: Sequence[str]) -> ColumnElement[bool]:
    return and_(true(), *(table.c[name] == _parameter(table, name) for name in fields))


def _parameter(table: Table, name: str) -> ColumnElement[Any]:
    return bindparam(name, type_=table.c[name].type)


def _bound() -> ColumnElement[int]:
    return bindparam(BOUND, type_=BigInteger())


def _insert(table: Table, replaced_by: tuple[str, ...], dialect: str) -> Insert:
    new = postgresql.insert(table) if dialect == POSTGRESQL else sqlite.insert(table)
    given = [column for column in table.c if column.autoincrement is not True]
    new = new.values({column.name: _parameter(table, column.name) for column in given})
    if len(given) < len(table.c):  # the database counts the rest up, and nobody reads it here
        new = new.inline()
    if not replaced_by:
        return new
    others = {column.name: new.excluded[column.name] for column in table.c if column.name not in replaced_by}
    if not others:
        return new.on_conflict_do_nothing(index_elements=replaced_by)
    return new.on_conflict_do_update(index_elements=replaced_by, set_=others)
