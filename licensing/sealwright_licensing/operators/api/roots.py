"""/api/v1/roots: which TPM makers are trusted. Adding one is for the command."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from sealwright_licensing.operators.api.desk import Desk, needs
from sealwright_licensing.operators.api.pages import Filter, ListQuery, Page, alone, find_page
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.views import RootView, view_root
from sealwright_licensing.records import MakerCertificate


class RootQuery(ListQuery):
    """Which certificates."""

    tier: Filter | None = None


def router(desk: Desk) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/roots", tags=["roots"])

    @routes.get("", summary="List makers' roots and intermediates", **needs(Permission.ROOTS_READ))
    def listed(query: Annotated[RootQuery, Query()]) -> Page[RootView]:
        return find_page(
            desk.store, MakerCertificate, alone(view_root), query,
            order=("added_at", "fingerprint"), equal={"tier": query.tier},
        )  # fmt: skip

    return routes
