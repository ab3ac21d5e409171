"""Usage by month and model, added up by the database: a fleet has a line per box, model and key each month."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError

from sealwright_licensing.metering_records import MeteringUsage
from sealwright_licensing.tables import TABLES
from sealwright_policies.errors import OperationError

_usage = TABLES[MeteringUsage].c
MONTHS = 12
_SUMS = ("requests", "prompt_tokens", "completion_tokens", "busy_ms", "lease_ms")


@dataclass(frozen=True, slots=True)
class UsageSum:
    """What one model has served in a month."""

    month: str
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    busy_ms: int
    lease_ms: int

    @property
    def tokens(self) -> int:
        """In and out."""
        return self.prompt_tokens + self.completion_tokens


def usage_sums(
    engine: Engine, months: Sequence[str], *, license_id: str | None, among: frozenset[str] | None
) -> list[UsageSum]:
    """Sums by month and model, without what is disputed.

    Args:
        license_id: of one licence; None: of all.
        among: licences that may be seen; None: all.

    Raises:
        OperationError: the database cannot be read.
    """
    query = (
        select(_usage.month, _usage.model, *(func.sum(_usage[name]) for name in _SUMS))
        .where(_usage.month.in_(months), _usage.disputed.is_(False))
        .group_by(_usage.month, _usage.model)
        .order_by(_usage.month, _usage.model)
    )
    if license_id is not None:
        query = query.where(_usage.license_id == license_id)
    if among is not None:
        query = query.where(_usage.license_id.in_(sorted(among)))
    try:
        with engine.connect() as connection:
            return [UsageSum(row[0], row[1], *map(int, row[2:])) for row in connection.execute(query)]
    except DBAPIError as error:
        said = str(error.orig).partition("\n")[0]
        raise OperationError(f"The database cannot be read: {said}.", cure="Check that it runs.") from error


def last_months(now: int, number: int = MONTHS) -> list[str]:
    """UTC months up to this one, oldest first, YYYY-MM."""
    today = datetime.datetime.fromtimestamp(now, datetime.UTC)
    count = today.year * 12 + today.month - 1
    return [f"{one // 12}-{one % 12 + 1:02}" for one in range(count - number + 1, count + 1)]
