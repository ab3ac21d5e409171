"""/api/v1/devices."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from sealwright_licensing.operators.api.desk import Desk, ResourceId, needs, principal_of
from sealwright_licensing.operators.api.pages import Filter, ListQuery, Page, find_page
from sealwright_licensing.operators.api.tags import device_tag
from sealwright_licensing.operators.principals import Principal
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.views import DeviceSummary, DeviceView, list_devices, view_device
from sealwright_licensing.records import Device, DeviceStatus
from sealwright_licensing.store import Transaction
from sealwright_policies.errors import RejectionCode, VerificationError


class DeviceQuery(ListQuery):
    """Which boxes."""

    license_id: Filter | None = None
    status: DeviceStatus | None = None
    tier: Filter | None = None
    prefix: Filter | None = None
    """Of the id."""


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/devices", tags=["devices"])

    @routes.get("", summary="List devices", **needs(Permission.DEVICES_READ))
    def listed(request: Request, query: Annotated[DeviceQuery, Query()]) -> Page[DeviceSummary]:
        return find_page(
            desk.store, Device, list_devices, query,
            order=("enrolled_at", "device_id"), scope=principal_of(request),
            equal={"license_id": query.license_id, "status": query.status, "tier": query.tier},
            prefix={"device_id": query.prefix},
        )  # fmt: skip

    @routes.get("/{device_id}", summary="Show a device and its last appraisal",
                **needs(Permission.DEVICES_READ, 404))  # fmt: skip
    def shown(request: Request, response: Response, device_id: ResourceId) -> DeviceView:
        with desk.store.read() as transaction:
            record = require_device(transaction, principal_of(request), device_id)
            response.headers["ETag"] = device_tag(record)
            return view_device(transaction, record)

    return routes


def require_device(transaction: Transaction, principal: Principal, device_id: str) -> Device:
    """A device that somebody may see.

    Raises:
        VerificationError: DEVICE_UNKNOWN.
    """
    record = transaction.get(Device, device_id)
    if record is None or not principal.sees(record.license_id):
        raise VerificationError(RejectionCode.DEVICE_UNKNOWN, f"nothing is known of a device {device_id}")
    return record
