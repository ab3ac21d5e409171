"""What was used on each day, for the customer's administrator alone (policies/spec/metering.md, 8).

    metering/days/YYYY-MM-DD.json

Every file remembers the last batches of gateways, so that one that is sent twice, also after a power cut, counts once.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from sealwright_appliance.files import read_file, remove_durably, write_durably
from sealwright_appliance.metering.journal import COUNT_MOST, GATEWAYS_MOST, BatchRow, GatewayMark
from sealwright_policies.errors import FormatError
from sealwright_policies.metering.receipt import MODELS_MOST, OTHER_KEYS, Count
from sealwright_policies.wire.encoding import Document, Identifier, document_bytes, parse_json

DAYS_KEPT = 92
DAY_ROWS_MOST = 200
DAY_LIMIT = 128 * 1024

Day = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class DayRow(Document):
    """What was used of a model with a key."""

    model: Identifier
    key: Annotated[str, Field(min_length=1, max_length=64)]
    """Its name; ``*`` for all whose rows have no room, or that the model's domain does not let be told apart."""
    requests: Count
    prompt_tokens: Count
    completion_tokens: Count


class UsageDay(Document):
    """The file of a day."""

    version: Annotated[int, Field(ge=1, le=1)]
    day: Day
    rows: Annotated[list[DayRow], Field(max_length=DAY_ROWS_MOST)]
    gateways: Annotated[list[GatewayMark], Field(max_length=GATEWAYS_MOST)]


@dataclass
class UsageDays:
    """The folder ``metering/days``. For one thread at a time."""

    folder: Path
    _open: UsageDay | None = None
    _marks: dict[str, int] | None = None

    def take(self, gateway_id: str, number: int, rows: Iterable[BatchRow], today: int) -> None:
        """Count a gateway's batch, unless it has been counted; it is on the disk when this returns.

        Args:
            today: seconds since the epoch, by the box's clock.

        Raises:
            OperationError: the disk refuses.
        """
        marks, day = self._seen(), self._day(day_of(today))
        if number <= marks.get(gateway_id, 0):
            return
        after = {name: mark for name, mark in marks.items() if name != gateway_id} | {gateway_id: number}
        kept = [GatewayMark(gateway_id=name, number=mark) for name, mark in list(after.items())[-GATEWAYS_MOST:]]
        changed = day.model_copy(update={"rows": with_rows(day.rows, rows), "gateways": kept})
        is_new = not self._path(day.day).exists()
        write_durably(self._path(day.day), document_bytes(changed))
        self._open, self._marks = changed, after
        if is_new:
            self._forget(day.day)

    def days(self) -> list[UsageDay]:
        """All that are kept, the oldest first; one that cannot be read is as if it were not there."""
        found = (self._load(path) for path in sorted(self.folder.glob("*.json")))
        return [one for one in found if one is not None]

    def _day(self, day: str) -> UsageDay:
        if self._open is None or self._open.day != day:
            self._open = self._load(self._path(day)) or UsageDay(version=1, day=day, rows=[], gateways=[])
        return self._open

    def _seen(self) -> dict[str, int]:
        """The last batch of each gateway, whichever day it was counted on: the clock may have been put back."""
        if self._marks is None:
            self._marks = {}
            for mark in (mark for day in self.days() for mark in day.gateways):
                self._marks[mark.gateway_id] = max(mark.number, self._marks.get(mark.gateway_id, 0))
        return self._marks

    def _forget(self, today: str) -> None:
        for name in over([path.stem for path in self.folder.glob("*.json")], today):
            remove_durably(self._path(name))

    def _load(self, path: Path) -> UsageDay | None:
        content = read_file(path, DAY_LIMIT)
        try:
            return parse_json(UsageDay, content, limit=DAY_LIMIT) if content is not None else None
        except FormatError:
            return None

    def _path(self, day: str) -> Path:
        return self.folder / f"{day}.json"


def day_of(seconds: int) -> str:
    """The UTC day of a time."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def over(days: Collection[str], today: str) -> set[str]:
    """Days to forget: older than :data:`DAYS_KEPT`, and beyond that many the latest ones, of a clock that ran ahead."""
    first = (date.fromisoformat(today) - timedelta(days=DAYS_KEPT - 1)).isoformat()
    kept = sorted(day for day in days if day >= first)
    return {day for day in days if day < first} | set(kept[DAYS_KEPT:])


def with_rows(held: Iterable[DayRow], new: Iterable[BatchRow]) -> list[DayRow]:
    """Sums of both; a key for which there is no room is counted under ``*`` of its model."""
    rows = {(row.model, row.key): row for row in held}
    for one in new:
        key = (one.model, one.key)
        if key not in rows and len(rows) >= DAY_ROWS_MOST - MODELS_MOST:
            key = (one.model, OTHER_KEYS)
        rows[key] = _sum(rows.get(key), one, key[1])
    return [rows[key] for key in sorted(rows)]


def _sum(held: DayRow | None, new: BatchRow, key: str) -> DayRow:
    names = ("requests", "prompt_tokens", "completion_tokens")
    counts = {name: min((getattr(held, name) if held else 0) + getattr(new, name), COUNT_MOST) for name in names}
    return DayRow(model=new.model, key=key, **counts)
