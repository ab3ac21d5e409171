"""Lists by day: from one UTC day to another, both included."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator

from sealwright_licensing.leases import DAY_S


def _day(text: object) -> object:
    """A day as a browser sends it; pydantic alone would take seconds, too."""
    return datetime.date.fromisoformat(text) if isinstance(text, str) else text


Day = Annotated[datetime.date, BeforeValidator(_day)]


class DayRange(BaseModel):
    """Part of a query."""

    first_day: Day | None = None
    last_day: Day | None = None

    @property
    def first_second(self) -> int | None:
        """Where it begins."""
        return _begin(self.first_day) if self.first_day else None

    @property
    def end(self) -> int | None:
        """The first second behind it."""
        return _begin(self.last_day) + DAY_S if self.last_day else None

    @property
    def last_second(self) -> int | None:
        """The last one in it."""
        return None if self.end is None else self.end - 1


def _begin(day: datetime.date) -> int:
    return int(datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp())
