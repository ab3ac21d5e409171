"""/api/v1/status: the service and its numbers."""

from __future__ import annotations

from fastapi import APIRouter

from sealwright_licensing.operators.api.desk import Desk, needs
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.views import View
from sealwright_licensing.records import (
    Device,
    DeviceStatus,
    License,
    LicenseStatus,
    PendingEnrollment,
    ReleaseRecord,
)


class StatusView(View):
    """What a glance at the service shows."""

    service_id: str
    url: str
    now: int
    """The service's clock."""
    licenses: dict[LicenseStatus, int]
    devices: dict[DeviceStatus, int]
    pending_enrollments: int
    releases: int


def router(desk: Desk) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/status", tags=["status"])

    @routes.get("", summary="Show the service's numbers", **needs(Permission.STATUS_READ))
    def shown() -> StatusView:
        return view_status(desk)

    return routes


def view_status(desk: Desk) -> StatusView:
    """The numbers, of one moment."""
    with desk.store.read() as transaction:
        return StatusView(
            service_id=desk.config.service_id,
            url=desk.config.url,
            now=desk.now(),
            licenses={one: transaction.count(License, status=one.value) for one in LicenseStatus},
            devices={one: transaction.count(Device, status=one.value) for one in DeviceStatus},
            pending_enrollments=transaction.count(PendingEnrollment),
            releases=transaction.count(ReleaseRecord),
        )
