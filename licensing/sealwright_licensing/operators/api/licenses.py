"""/api/v1/licenses."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from sealwright_licensing.operators.api.desk import Desk, ResourceId, needs, principal_of
from sealwright_licensing.operators.api.pages import Filter, ListQuery, Page, find_page
from sealwright_licensing.operators.api.tags import license_tag
from sealwright_licensing.operators.principals import Principal
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.views import LicenseView, list_licenses, view_license
from sealwright_licensing.records import License, LicenseStatus
from sealwright_licensing.store import Transaction
from sealwright_policies.errors import RejectionCode, VerificationError


class LicenseQuery(ListQuery):
    """Which licences."""

    product: Filter | None = None
    status: LicenseStatus | None = None
    prefix: Filter | None = None
    """Of the id."""


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/licenses", tags=["licences"])

    @routes.get("", summary="List licences", **needs(Permission.LICENSES_READ))
    def listed(request: Request, query: Annotated[LicenseQuery, Query()]) -> Page[LicenseView]:
        return find_page(
            desk.store, License, list_licenses, query,
            order=("issued_at", "license_id"), scope=principal_of(request),
            equal={"product": query.product, "status": query.status}, prefix={"license_id": query.prefix},
        )  # fmt: skip

    @routes.get("/{license_id}", summary="Show a licence", **needs(Permission.LICENSES_READ, 404))
    def shown(request: Request, response: Response, license_id: ResourceId) -> LicenseView:
        with desk.store.read() as transaction:
            record = require_license(transaction, principal_of(request), license_id)
            response.headers["ETag"] = license_tag(record)
            return view_license(transaction, record)

    return routes


def require_license(transaction: Transaction, principal: Principal, license_id: str) -> License:
    """A licence that somebody may see.

    Raises:
        VerificationError: LICENSE_UNKNOWN.
    """
    record = transaction.get(License, license_id)
    if record is None or not principal.sees(license_id):
        raise VerificationError(RejectionCode.LICENSE_UNKNOWN, f"there is no licence {license_id}")
    return record
