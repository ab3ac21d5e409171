"""/api/v1/operations: what operators have done."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from sealwright_licensing.operators.api.desk import Desk, needs
from sealwright_licensing.operators.api.pages import Filter, ListQuery, Page, Time, alone, find_page
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.views import OperationView, view_operation
from sealwright_licensing.records import Operation


class OperationQuery(ListQuery):
    """Which operations."""

    subject: Filter | None = None
    """Id of a licence, device, release or token."""
    operation: Filter | None = None
    actor_kind: Filter | None = None
    since: Time | None = None
    until: Time | None = None
    """Bounds of ``performed_at``, both included."""


def router(desk: Desk) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/operations", tags=["operations"])

    @routes.get("", summary="List what operators have done", **needs(Permission.OPERATIONS_READ))
    def listed(query: Annotated[OperationQuery, Query()]) -> Page[OperationView]:
        return find_page(
            desk.store, Operation, alone(view_operation), query,
            order=("performed_at", "operation_id"), since=query.since, until=query.until,
            equal={"subject": query.subject, "operation": query.operation, "actor_kind": query.actor_kind},
        )  # fmt: skip

    return routes
