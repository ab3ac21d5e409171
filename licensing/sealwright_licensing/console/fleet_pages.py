"""The first page: what waits for a person, then the fleet in numbers."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from sealwright_licensing.console.charts import bars
from sealwright_licensing.console.fleet import read_fleet
from sealwright_licensing.console.guard import opens, visit_of
from sealwright_licensing.console.pages import Console
from sealwright_licensing.operators.roles import Permission


def router(console: Console) -> APIRouter:
    """The route."""
    routes = APIRouter()

    @routes.get("/", **opens(Permission.LICENSES_READ))
    def overview(request: Request) -> Response:
        visit = visit_of(request)
        if not visit.may(Permission.STATUS_READ):  # bound to licences
            return RedirectResponse("/licenses", 303)
        fleet = read_fleet(console.desk.store.engine, now=visit.now)
        ends = bars([(visit.say(f"lease_end.{name}"), n) for name, n in fleet.by_lease_end.items()])
        return console.page(visit, "overview.html", fleet=fleet, lease_ends=ends)

    return routes
