"""/api/v1/leases."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from sealwright_licensing.operators.api.desk import Desk, ResourceId, needs, principal_of
from sealwright_licensing.operators.api.pages import Filter, ListQuery, Page, Time, alone, find_page
from sealwright_licensing.operators.errors import OperatorError
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.views import LeaseView, view_lease
from sealwright_licensing.records import LeaseRecord


class LeaseQuery(ListQuery):
    """Which leases."""

    device_id: Filter | None = None
    license_id: Filter | None = None
    release_id: Filter | None = None
    since: Time | None = None
    until: Time | None = None
    """Bounds of ``issued_at``, both included."""


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/leases", tags=["leases"])

    @routes.get("", summary="List leases", **needs(Permission.LEASES_READ))
    def listed(request: Request, query: Annotated[LeaseQuery, Query()]) -> Page[LeaseView]:
        return find_page(
            desk.store, LeaseRecord, alone(view_lease), query,
            order=("issued_at", "lease_id"), scope=principal_of(request), since=query.since, until=query.until,
            equal={"device_id": query.device_id, "license_id": query.license_id, "release_id": query.release_id},
        )  # fmt: skip

    @routes.get("/{lease_id}", summary="Show a lease", **needs(Permission.LEASES_READ, 404))
    def shown(request: Request, lease_id: ResourceId) -> LeaseView:
        with desk.store.read() as transaction:
            record = transaction.get(LeaseRecord, lease_id)
        if record is None or not principal_of(request).sees(record.license_id):
            raise OperatorError(404, "NOT_FOUND", f"There is no lease {lease_id}.")
        return view_lease(record)

    return routes
