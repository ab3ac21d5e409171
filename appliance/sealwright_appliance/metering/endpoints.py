"""The meter on the agent's socket: batches of the gateway, and what the customer's administrator sees and chooses."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import FastAPI
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.metering.box_meter import BoxMeter
from sealwright_appliance.metering.journal import Batch
from sealwright_appliance.metering.meter_store import MeteringSettings
from sealwright_appliance.metering.usage_days import Day, DayRow
from sealwright_policies.metering.receipt import ModelUsage, UsageRow
from sealwright_policies.wire.encoding import Document


class MeteringChoice(Document):
    """``PUT /metering/settings``."""

    names: bool
    """Whether the vendor gets the names of API keys instead of pseudonyms."""
    admin_key: Annotated[str, Field(max_length=64)]


class ReportOrder(Document):
    """``POST /metering/report``."""

    admin_key: Annotated[str, Field(max_length=64)]


class MeteringView(Document):
    """``GET /metering``: what the vendor will see of the open interval, and as what of each key."""

    names: bool
    waiting: int
    """Receipts that the service has not acknowledged."""
    opened_at: int
    models: list[ModelUsage]
    rows: list[UsageRow]
    aliases: dict[str, str]


class DayView(Document):
    """What was used on a day."""

    day: Day
    rows: list[DayRow]


class DaysView(Document):
    """``GET /metering/days``."""

    today: Day
    """By the box's clock, UTC."""
    days: list[DayView]


class ReportingMeter(Protocol):
    """The meter, and who reports for it."""

    @property
    def meter(self) -> BoxMeter:
        """What counts."""

    def report_soon(self) -> None:
        """Make the next look a report."""


def add_metering(app: FastAPI, api_keys: ApiKeys, keeper: ReportingMeter) -> None:
    """Add the routes."""
    meter = keeper.meter

    @app.post("/metering")
    async def take(batch: Batch) -> dict[str, int]:
        await run_in_threadpool(meter.take, batch)
        return {"taken": batch.number}

    @app.get("/metering")
    async def view() -> MeteringView:
        return await run_in_threadpool(_view, api_keys, meter)

    @app.get("/metering/days")
    async def days() -> DaysView:
        today, kept = await run_in_threadpool(meter.days)
        return DaysView(today=today, days=[DayView(day=one.day, rows=one.rows) for one in kept])

    @app.put("/metering/settings")
    async def choose(choice: MeteringChoice) -> MeteringSettings:
        await run_in_threadpool(api_keys.require_admin, choice.admin_key)
        await run_in_threadpool(meter.choose, MeteringSettings(names=choice.names))
        return meter.settings()

    @app.post("/metering/report", status_code=202)
    async def report(order: ReportOrder) -> dict[str, int]:
        await run_in_threadpool(api_keys.require_admin, order.admin_key)
        keeper.report_soon()
        return {"waiting": await run_in_threadpool(meter.waiting)}


def _view(api_keys: ApiKeys, meter: BoxMeter) -> MeteringView:
    journal = meter.journal()
    return MeteringView(
        names=meter.settings().names,
        waiting=meter.waiting(),
        opened_at=journal.opened_at,
        models=journal.models,
        rows=journal.rows,
        aliases=meter.aliases([key.name for key in api_keys.load().keys]),
    )
