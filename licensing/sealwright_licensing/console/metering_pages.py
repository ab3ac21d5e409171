"""Metering: what has been served, in charts and tables, and what was odd about it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from sealwright_licensing.console.charts import columns
from sealwright_licensing.console.forms import asked
from sealwright_licensing.console.guard import opens, visit_of
from sealwright_licensing.console.lists import find_list
from sealwright_licensing.console.pages import Console
from sealwright_licensing.console.usage import UsageSum, last_months, usage_sums
from sealwright_licensing.metering_records import MeteringAlarm
from sealwright_licensing.metering_reports import UsageQuery
from sealwright_licensing.operators.api.pages import Filter, ListQuery
from sealwright_licensing.operators.roles import Permission

SHOWN_MODELS = 6
"""In a chart; the table has all."""


class MeteringQuery(ListQuery):
    """Whose metering; pages are those of the alarms."""

    license_id: Filter | None = None


def router(console: Console) -> APIRouter:
    """The route."""
    routes = APIRouter()
    store = console.desk.store

    @routes.get("/metering", **opens(Permission.METERING_READ))
    def metering(request: Request) -> Response:
        visit = visit_of(request)
        query = asked(request, MeteringQuery)
        months = last_months(visit.now)
        wanted = UsageQuery(query.license_id, since_month=months[0], among=visit.known.principal.licenses)
        sums = usage_sums(store.engine, wanted)
        alarms = find_list(
            store, visit, MeteringAlarm, query, order=("raised_at", "alarm_id"), equal={"license_id": query.license_id}
        )
        models = sorted({one.model for one in sums})
        return console.page(
            visit, "metering.html", sums=sums[::-1], alarms=alarms, query=query, models=models[:SHOWN_MODELS],
            requests=columns(months, _series(sums, months, models, "requests")),
            tokens=columns(months, _series(sums, months, models, "tokens")),
        )  # fmt: skip

    return routes


def _series(
    sums: list[UsageSum], months: list[str], models: list[str], count: str
) -> list[tuple[str, list[int]]]:  # fmt: skip
    found = {(one.month, one.model): int(getattr(one, count)) for one in sums}
    return [(model, [found.get((month, model), 0) for month in months]) for model in models[:SHOWN_MODELS]]
