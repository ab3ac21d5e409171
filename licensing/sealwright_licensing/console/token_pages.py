"""API tokens: who may use API and console, and how long. They are made by the command alone."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from sealwright_licensing.console.device_operations import TOKENS
from sealwright_licensing.console.forms import asked
from sealwright_licensing.console.guard import opens, visit_of
from sealwright_licensing.console.lists import find_list
from sealwright_licensing.console.pages import Console
from sealwright_licensing.operators.api.desk import ResourceId
from sealwright_licensing.operators.api.tokens import TokenQuery
from sealwright_licensing.operators.records import ApiToken
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.tokens import is_good, known_token
from sealwright_licensing.operators.views import list_tokens
from sealwright_licensing.records import Operation


def router(console: Console) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/tokens")
    store = console.desk.store

    @routes.get("", **opens(Permission.TOKENS_READ))
    def listed(request: Request) -> Response:
        visit = visit_of(request)
        query = asked(request, TokenQuery)
        found = find_list(
            store, visit, ApiToken, query, order=("created_at", "token_id"), bound=False, equal={"role": query.role}
        )
        states = {one.token_id: _state(one, visit.now) for one in found.rows}
        with store.read() as transaction:
            tokens = list_tokens(transaction, found.rows)
        return console.page(visit, "tokens.html", found=found, tokens=tokens, states=states)

    @routes.get("/{token_id}", **opens(Permission.TOKENS_READ))
    def shown(request: Request, token_id: ResourceId) -> Response:
        visit = visit_of(request)
        with store.read() as transaction:
            token = known_token(transaction, token_id)
            (shown_as,) = list_tokens(transaction, [token])
            operations = transaction.find(Operation, newest_first="performed_at", limit=10, subject=token_id)
        return console.page(
            visit, "token.html", token=shown_as, state=_state(token, visit.now), operations=operations,
            offered=TOKENS.offered(visit, token),
        )  # fmt: skip

    return routes


def _state(token: ApiToken, now: int) -> str:
    """A word for it."""
    if token.revoked_at is not None:
        return "revoked"
    return "good" if is_good(token, now=now) else "over"
