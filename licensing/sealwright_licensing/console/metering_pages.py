"""Metering: what has been served, in charts and tables, and what was odd about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request, Response

from sealwright_licensing.console.charts import columns
from sealwright_licensing.console.forms import asked
from sealwright_licensing.console.guard import opens, visit_of
from sealwright_licensing.console.languages import say
from sealwright_licensing.console.lists import find_list
from sealwright_licensing.console.pages import Console
from sealwright_licensing.console.usage import UsageSum, last_months, usage_sums
from sealwright_licensing.metering_records import MeteringAlarm
from sealwright_licensing.metering_reports import UsageQuery
from sealwright_licensing.operators.api.pages import Filter, ListQuery
from sealwright_licensing.operators.roles import Permission

SHOWN_MODELS = 6
"""Series of a chart, each with a colour of its own; the table has all models."""


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
        names = series_names(sorted({one.model for one in sums}), say(visit.language, "metering.others"))
        return console.page(
            visit, "metering.html", sums=sums[::-1], alarms=alarms, query=query, models=dict.fromkeys(names.values()),
            requests=columns(months, _series(sums, months, names, "requests")),
            tokens=columns(months, _series(sums, months, names, "tokens")),
        )  # fmt: skip

    return routes


def series_names(models: Sequence[str], others: str) -> dict[str, str]:
    """The series that each model is part of: its own, or the last one where there are more than can be told apart."""
    alone = len(models) if len(models) <= SHOWN_MODELS else SHOWN_MODELS - 1
    return {model: model if at < alone else others for at, model in enumerate(models)}


def _series(
    sums: Sequence[UsageSum], months: Sequence[str], names: Mapping[str, str], count: str
) -> list[tuple[str, list[int]]]:
    found = Counter[tuple[str, str]]()
    for one in sums:
        found[one.month, names[one.model]] += int(getattr(one, count))
    return [(name, [found[month, name] for month in months]) for name in dict.fromkeys(names.values())]
