"""Usage by month and model."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from sqlalchemy import Engine

from sealwright_licensing.metering_reports import UsageQuery, totals
from sealwright_licensing.metering_usage import COUNTS

MONTHS = 12


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


def usage_sums(engine: Engine, query: UsageQuery) -> list[UsageSum]:
    """Sums by month and model, without what is disputed.

    Raises:
        OperationError: the database cannot be read.
    """
    found = totals(engine, query, "month", "model")
    return [UsageSum(month, model, *(counts[name] for name in COUNTS)) for (month, model), counts in found.items()]


def last_months(now: int, number: int = MONTHS) -> list[str]:
    """UTC months up to this one, oldest first, YYYY-MM."""
    today = datetime.datetime.fromtimestamp(now, datetime.UTC)
    count = today.year * 12 + today.month - 1
    return [f"{one // 12}-{one % 12 + 1:02}" for one in range(count - number + 1, count + 1)]
