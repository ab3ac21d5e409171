"""Releases: the list, and one of them."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from sealwright_licensing.console.device_operations import RELEASES
from sealwright_licensing.console.forms import asked
from sealwright_licensing.console.guard import opens, visit_of
from sealwright_licensing.console.lists import find_list
from sealwright_licensing.console.pages import Console
from sealwright_licensing.operators.api.desk import ResourceId
from sealwright_licensing.operators.api.releases import ReleaseQuery, require_release
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.records import Operation, ReleaseRecord, ReleaseShares


def router(console: Console) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/releases")
    store = console.desk.store

    @routes.get("", **opens(Permission.RELEASES_READ))
    def listed(request: Request) -> Response:
        visit = visit_of(request)
        query = asked(request, ReleaseQuery)
        found = find_list(
            store, visit, ReleaseRecord, query, order=("imported_at", "release_id"), bound=False,
            equal={"product": query.product, "version": query.version, "withdrawn": query.withdrawn},
            prefix={"release_id": query.prefix},
        )  # fmt: skip
        return console.page(visit, "releases.html", found=found)

    @routes.get("/{release_id}", **opens(Permission.RELEASES_READ))
    def shown(request: Request, release_id: ResourceId) -> Response:
        visit = visit_of(request)
        with store.read() as transaction:
            release = require_release(transaction, release_id)
            partitions = [one.partition_id for one in transaction.find(ReleaseShares, release_id=release_id)]
            operations = transaction.find(Operation, newest_first="performed_at", limit=10, subject=release_id)
        return console.page(
            visit, "release.html", release=release, partitions=partitions,
            operations=operations if visit.may(Permission.OPERATIONS_READ) else None,
            offered=RELEASES.offered(visit, release),
        )  # fmt: skip

    return routes
