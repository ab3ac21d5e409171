"""/api/v1/decisions: every grant and denial, with the appraisal behind it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from sealwright_licensing.operators.api.desk import Desk, ResourceId, needs, principal_of
from sealwright_licensing.operators.api.pages import Filter, ListQuery, Page, Time, alone, find_page
from sealwright_licensing.operators.errors import OperatorError
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.views import DecisionSummary, DecisionView, summarise_decision, view_decision
from sealwright_licensing.records import Decision


class DecisionQuery(ListQuery):
    """Which decisions."""

    device_id: Filter | None = None
    license_id: Filter | None = None
    purpose: Filter | None = None
    code: Filter | None = None
    """"ok" or a rejection code."""
    since: Time | None = None
    until: Time | None = None
    """Bounds of ``decided_at``, both included."""


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/decisions", tags=["decisions"])

    @routes.get("", summary="List decisions", **needs(Permission.DECISIONS_READ))
    def listed(request: Request, query: Annotated[DecisionQuery, Query()]) -> Page[DecisionSummary]:
        return find_page(
            desk.store, Decision, alone(summarise_decision), query,
            order=("decided_at", "decision_id"), scope=principal_of(request), since=query.since, until=query.until,
            equal={
                "device_id": query.device_id, "license_id": query.license_id,
                "purpose": query.purpose, "code": query.code,
            },
        )  # fmt: skip

    @routes.get("/{decision_id}", summary="Show a decision and its appraisal, event by event",
                **needs(Permission.DECISIONS_READ, 404))  # fmt: skip
    def shown(request: Request, decision_id: ResourceId) -> DecisionView:
        with desk.store.read() as transaction:
            record = transaction.get(Decision, decision_id)
        if record is None or not principal_of(request).sees(record.license_id):
            raise OperatorError(404, "NOT_FOUND", f"There is no decision {decision_id}.")
        return view_decision(record)

    return routes
