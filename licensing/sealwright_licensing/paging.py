"""One page of many records: which, in which order, and from where on. Pure.

A page begins behind the last record of the one before, not at a number: what is added meanwhile moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Position(NamedTuple):
    """A record's place in the order: the field that orders, then the id."""

    at: int
    id: str


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Newest first by ``order_by``; records of one second by id, from the highest down: ids that begin with a time
    stay in order."""

    order_by: str
    id_field: str
    limit: int
    behind: Position | None = None
    equal: Mapping[str, str | bool] = field(default_factory=dict)
    among: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Fields that must have one of the values; none of none."""
    prefix: Mapping[str, str] = field(default_factory=dict)
    """Fields that must begin like this; letters as they are."""
    since: int | None = None
    until: int | None = None
    """Bounds of ``order_by``, both included."""
