"""/api/v1/tokens: listed and revoked here; made by the command alone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from sealwright_licensing.operators.api.desk import Desk, ResourceId, needs, principal_of
from sealwright_licensing.operators.api.pages import Filter, ListQuery, Page, find_page
from sealwright_licensing.operators.records import ApiToken
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.tokens import revoke_token
from sealwright_licensing.operators.views import TokenView, list_tokens


class TokenQuery(ListQuery):
    """Which tokens."""

    role: Filter | None = None


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/tokens", tags=["tokens"])

    @routes.get("", summary="List API tokens", **needs(Permission.TOKENS_READ))
    def listed(query: Annotated[TokenQuery, Query()]) -> Page[TokenView]:
        return find_page(
            desk.store, ApiToken, list_tokens, query,
            order=("created_at", "token_id"), equal={"role": query.role},
        )  # fmt: skip

    @routes.post("/{token_id}/revoke", summary="Revoke an API token, and its sessions",
                 **needs(Permission.TOKENS_REVOKE, 404))  # fmt: skip
    def revoke(request: Request, token_id: ResourceId) -> TokenView:
        revoked = revoke_token(desk.store, principal_of(request).actor, token_id, now=desk.now())
        with desk.store.read() as transaction:
            return list_tokens(transaction, [revoked])[0]

    return routes
