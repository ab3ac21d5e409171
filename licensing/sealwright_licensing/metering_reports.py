"""Usage as it is shown, added up by the database, or line by line for an export.

A fleet has a line per box, model and key each month; never are all of them in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, or_, select
from sqlalchemy.exc import DBAPIError

from sealwright_licensing.metering_records import MeteringUsage
from sealwright_licensing.metering_usage import COUNTS
from sealwright_licensing.tables import TABLES
from sealwright_policies.errors import OperationError

_table = TABLES[MeteringUsage]
_usage = _table.c
_AT_ONCE = 1000
"""Lines that are in memory at a time."""


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which usage; None is any."""

    license_id: str | None = None
    month: str | None = None
    """UTC month of receipt, YYYY-MM."""
    device_id: str | None = None
    since_month: str | None = None
    among: frozenset[str] | None = None
    """Licences that may be seen."""

    def limited(self, query: Select[Any]) -> Select[Any]:
        """A query over usage, of what is asked for."""
        equal = {"license_id": self.license_id, "month": self.month, "device_id": self.device_id}
        query = query.where(*(_usage[name] == value for name, value in equal.items() if value is not None))
        if self.since_month is not None:
            query = query.where(_usage.month >= self.since_month)
        return query if self.among is None else query.where(_usage.license_id.in_(sorted(self.among)))


def totals(engine: Engine, query: UsageQuery, *by: str) -> dict[tuple[str, ...], dict[str, int]]:
    """Counts added up by fields of the records, e.g. ``("month", "model")``; what is disputed is left out.

    Raises:
        OperationError: the database cannot be read.
    """
    fields = [_usage[name] for name in by]
    summed = select(*fields, *(func.sum(_usage[name]) for name in COUNTS)).where(_usage.disputed.is_(False))
    with _reading(engine) as connection:
        rows = connection.execute(query.limited(summed.group_by(*fields).order_by(*fields))).all()
    return {tuple(row[: len(by)]): dict(zip(COUNTS, map(int, row[len(by) :]), strict=True)) for row in rows}


def disputed_lines(engine: Engine, query: UsageQuery) -> int:
    """Lines that are left out of all totals until somebody settles them; what is settled leaves lines of nothing.

    Raises:
        OperationError: the database cannot be read.
    """
    is_something = or_(*(_usage[name] != 0 for name in COUNTS))
    counted = select(func.count()).select_from(_table).where(_usage.disputed, is_something)
    with _reading(engine) as connection:
        return int(connection.execute(query.limited(counted)).scalar_one())


def usage_lines(engine: Engine, query: UsageQuery) -> Iterator[MeteringUsage]:
    """The usage asked for, in order of its key: one line per month, box, model and alias, what is disputed too.

    Raises:
        OperationError: the database cannot be read.
    """
    chosen = select(*(_usage[name] for name in MeteringUsage.__dataclass_fields__)).order_by(*_table.primary_key)
    with _reading(engine) as connection:
        for row in connection.execute(query.limited(chosen).execution_options(yield_per=_AT_ONCE)):
            yield MeteringUsage(*row)


@contextmanager
def _reading(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        said = str(error.orig).partition("\n")[0]
        raise OperationError(f"The database cannot be read: {said}.", cure="Check that it runs.") from error
