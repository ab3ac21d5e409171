"""/api/v1/releases. Importing one is for the command: it reads a build's output and takes a key to trust."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from sealwright_licensing.operations.releases import withdraw_release
from sealwright_licensing.operators.api.bodies import Nothing
from sealwright_licensing.operators.api.changes import Change, changes, make_change
from sealwright_licensing.operators.api.desk import Desk, ResourceId, needs
from sealwright_licensing.operators.api.pages import Filter, ListQuery, Page, alone, find_page
from sealwright_licensing.operators.api.tags import release_tag
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.views import ReleaseView, view_release
from sealwright_licensing.records import ReleaseRecord
from sealwright_licensing.store import Transaction
from sealwright_policies.errors import RejectionCode, VerificationError


class ReleaseQuery(ListQuery):
    """Which releases."""

    product: Filter | None = None
    version: Filter | None = None
    withdrawn: bool | None = None
    prefix: Filter | None = None
    """Of the id."""


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/releases", tags=["releases"])

    @routes.get("", summary="List releases", **needs(Permission.RELEASES_READ))
    def listed(query: Annotated[ReleaseQuery, Query()]) -> Page[ReleaseView]:
        return find_page(
            desk.store, ReleaseRecord, alone(view_release), query,
            order=("imported_at", "release_id"), prefix={"release_id": query.prefix},
            equal={"product": query.product, "version": query.version, "withdrawn": query.withdrawn},
        )  # fmt: skip

    @routes.get("/{release_id}", summary="Show a release", **needs(Permission.RELEASES_READ, 404))
    def shown(response: Response, release_id: ResourceId) -> ReleaseView:
        with desk.store.read() as transaction:
            record = require_release(transaction, release_id)
        response.headers["ETag"] = release_tag(record)
        return view_release(record)

    @routes.post("/{release_id}/withdraw", summary="Lease a release no more",
                 **changes(Permission.RELEASES_CHANGE, Nothing, tagged=True))  # fmt: skip
    async def withdraw(request: Request, release_id: ResourceId) -> ReleaseView:
        def make(change: Change, _: Nothing) -> ReleaseRecord:
            return withdraw_release(change.store, change.actor, release_id, now=change.now)

        def subject(transaction: Transaction) -> str:
            return release_tag(require_release(transaction, release_id))

        return view_release(await make_change(desk, request, Nothing, make, subject=subject))

    return routes


def require_release(transaction: Transaction, release_id: str) -> ReleaseRecord:
    """A release.

    Raises:
        VerificationError: RELEASE_UNKNOWN.
    """
    record = transaction.get(ReleaseRecord, release_id)
    if record is None:
        raise VerificationError(RejectionCode.RELEASE_UNKNOWN, f"there is no release {release_id}")
    return record
