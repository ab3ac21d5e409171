"""What stands in ``sqlite_master``, compared with what the migrations make; pure.

The statements are compared, for a clause such as ``ON CONFLICT IGNORE`` or ``COLLATE NOCASE`` shows nowhere else. Their
layout is not: a schema that was left and come back to has its columns in another order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_WORD = re.compile(r"""(\s+)|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|'(?:[^']|'')*'|\w+|.""", re.DOTALL)
_STATISTICS = re.compile(r"sqlite_stat[1-4]")

Words = tuple[str, ...]
Form = tuple[Words, tuple[Words, ...], Words]
"""Of a statement: what is before the parentheses, what is between them in any order, what is behind them."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One row of ``sqlite_master``."""

    type: str
    name: str
    table: str
    form: Form | None
    """None of an index that SQLite has made for a key."""

    @property
    def place(self) -> tuple[str, str]:
        """What it is, and its name."""
        return self.type, self.name


def stored(type_: str, name: str, table: str, sql: str | None) -> Stored:
    """A row."""
    return Stored(type_, name, table, None if sql is None else statement_form(sql))


def statement_form(sql: str) -> Form:
    """A statement without what its layout is."""
    words = [match[0] for match in _WORD.finditer(sql) if match[1] is None]
    words = [one if one[0] in "'\"`[" else one.lower() for one in words]
    if "(" not in words:
        return tuple(words), (), ()
    begin = words.index("(")
    # SQLite puts quotes around the name of a table that was renamed. Elsewhere they may be part of the meaning.
    head = tuple(one.strip('"') for one in words[:begin])
    parts: list[Words] = []
    depth, start = 1, begin + 1
    for at in range(begin + 1, len(words)):
        depth += {"(": 1, ")": -1}.get(words[at], 0)
        if depth == 0 or (depth == 1 and words[at] == ","):
            parts.append(_part(words[start:at]))
            start = at + 1
        if depth == 0:
            break
    return head, tuple(sorted(parts)), tuple(words[start:])


def _part(words: list[str]) -> Words:
    """A column or constraint; Alembic puts parentheses around a default, or not, by how it came to the table."""
    if "default" in words:
        begin = words.index("default") + 1
        end = words.index(")", begin) if words[begin : begin + 1] == ["("] and ")" in words[begin:] else begin
        inner = words[begin + 1 : end]
        if inner and inner[-1].startswith("'"):
            words = [*words[:begin], *inner, *words[end + 1 :]]
    return tuple(words)


def object_differences(made: Iterable[Stored], found: Iterable[Stored]) -> Iterator[tuple[str, str]]:
    """Place and sentence of everything that is otherwise than the migrations make it.

    Statistics, as ANALYZE leaves them, choose between ways to one answer. With whole indexes, which the audit demands
    beside this, they change none.
    """
    wanted, there = Counter(made), Counter(one for one in found if not _is_statistics(one))
    others, missing = there - wanted, wanted - there
    known = {one.place for one in wanted}
    for one in sorted(others, key=lambda one: one.place):
        if one.place not in known:
            yield " ".join(one.place), f"the migrations make no such {one.type} (of table {one.table})"
        elif any(there[other] for other in wanted if other.place == one.place):
            yield " ".join(one.place), "it is there more than once"
        else:
            yield " ".join(one.place), "it is not as the migrations make it"
    changed = {one.place for one in others}
    for one in sorted(missing, key=lambda one: one.place):
        if one.place not in changed:
            yield " ".join(one.place), "it is missing"


def _is_statistics(one: Stored) -> bool:
    return one.type == "table" and _STATISTICS.fullmatch(one.name) is not None
