"""Tables of PostgreSQL as its catalogue has them, compared with what the migrations make; pure.

Refused is what lets a table answer one asker otherwise than another, or runs code of somebody's in the service's
session: row security, rules, triggers, other constraints, defaults that call functions, indexes on expressions. One
more ordinary index is not: PostgreSQL keeps it true itself, and an administrator may want it for speed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LITERAL = re.compile(r"(?:NULL|true|false|-?\d+|'(?:[^']|'')*')(?:::[a-z ]+)?")
_SEQUENCE = re.compile(r"nextval\('(?:[^']|'')+'::regclass\)")


@dataclass(frozen=True, slots=True)
class MadeColumn:
    """A column as the migrations make it."""

    name: str
    type: str
    is_required: bool
    is_counted: bool


@dataclass(frozen=True, slots=True)
class MadeTable:
    """A table as the migrations make it."""

    name: str
    columns: tuple[MadeColumn, ...]
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is there."""

    name: str
    type: str
    """With its schema, if that is not PostgreSQL's own."""
    is_required: bool
    is_plain: bool
    """Neither generated nor an identity, and with its type's own collation."""
    default: str | None


@dataclass(frozen=True, slots=True)
class KeyIndex:
    """An index that is there."""

    name: str
    columns: tuple[str, ...]
    is_primary: bool
    is_unique: bool
    is_whole: bool
    """Valid, ready and checked at once."""
    is_ordinary: bool
    """A b-tree of PostgreSQL's own operators over columns, of all rows."""


@dataclass(frozen=True, slots=True)
class Relation:
    """What is there under a table's name."""

    schema: str
    kind: str
    is_lasting: bool
    """Neither temporary nor unlogged."""
    is_heap: bool
    row_security: bool
    forced_row_security: bool
    inherits: bool
    """Has a parent or children."""
    rules: tuple[str, ...]
    triggers: tuple[str, ...]
    constraints: tuple[str, ...]
    """But the primary key, and NOT NULL."""
    columns: tuple[Column, ...]
    indexes: tuple[KeyIndex, ...]


def table_sentences(made: MadeTable, found: Relation | None, schema: str) -> Iterator[str]:
    """What is otherwise than the migrations make it.

    Args:
        schema: where the table has to be.
    """
    if found is None:
        yield "it is missing"
        return
    if found.schema != schema:
        yield f"it is in schema {found.schema}, not in {schema}"
    if found.kind != "r" or not found.is_heap:
        yield f"it is no ordinary table (pg_class.relkind {found.kind})"
    if not found.is_lasting:
        yield "it is temporary or unlogged"
    if found.row_security or found.forced_row_security:
        yield "row security is on"
    if found.inherits:
        yield "it has a parent or children"
    for kind, names in (("rule", found.rules), ("trigger", found.triggers), ("constraint", found.constraints)):
        for name in names:
            yield f"the migrations make no {kind} {name}"
    yield from _key_sentences(made, found.indexes)
    yield from _column_sentences(made, found.columns)


def _key_sentences(made: MadeTable, indexes: Iterable[KeyIndex]) -> Iterator[str]:
    primary = [one for one in indexes if one.is_primary]
    if not any(one.columns == made.key and one.is_whole and one.is_ordinary for one in primary):
        yield f"its primary key is not ({', '.join(made.key)})"
    for one in indexes:
        if one.is_primary:
            continue
        if one.is_unique:
            yield f"the migrations make no unique index {one.name}"
        elif not one.is_ordinary:
            yield f"index {one.name} is not an ordinary one: a b-tree over columns, of all rows"


def _column_sentences(made: MadeTable, columns: Iterable[Column]) -> Iterator[str]:
    there = {one.name: one for one in columns}
    for wanted in made.columns:
        found = there.pop(wanted.name, None)
        if found is None:
            yield f"column {wanted.name} is missing"
        elif (found.type, found.is_required, found.is_plain) != (wanted.type, wanted.is_required, True):
            yield f"column {wanted.name} is not as the migrations make it"
        elif not _is_harmless(found.default, _SEQUENCE if wanted.is_counted else _LITERAL):
            yield f"the default of column {wanted.name} is not as the migrations make it"
    for name in there:
        yield f"the migrations make no column {name}"


def _is_harmless(default: str | None, wanted: re.Pattern[str]) -> bool:
    """Whether it calls nothing of anybody's. What value it is does not matter: the service writes all columns."""
    return default is None or wanted.fullmatch(default) is not None
