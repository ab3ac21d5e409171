"""/api/v1/session: a browser's own session. The only resource that a cookie opens; all others take a token."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response

from sealwright_licensing.limits import AddressBuckets
from sealwright_licensing.middleware import client_address
from sealwright_licensing.operators.api.desk import Desk, problems
from sealwright_licensing.operators.browser import (
    CSRF_HEADER,
    clear_session_cookie,
    form_session,
    page_session,
    require_same_origin,
    set_session_cookie,
)
from sealwright_licensing.operators.errors import OperatorError
from sealwright_licensing.operators.principals import PrincipalKind
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.sessions import Session, begin_session, end_session, find_session
from sealwright_licensing.operators.tokens import authenticate_token
from sealwright_licensing.operators.views import View
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.encoding import Document


class Login(Document):
    """What somebody logs in with."""

    token: str


class SessionView(View):
    """Who is logged in; the token goes into every form."""

    name: str
    role: Role
    kind: PrincipalKind
    licenses: list[str] | None
    expires_at: int
    csrf_token: str


def login(desk: Desk, failed: AddressBuckets, request: Request, token: str) -> str:
    """Begin a session with an API token; returns the cookie's value.

    Raises:
        OperatorError: CROSS_SITE, UNAUTHENTICATED.
        VerificationError: RATE_LIMITED: too many wrong tokens from this address.
    """
    require_same_origin(request)
    address = client_address(request.scope)
    if not failed.has_token(address, now=time.monotonic()):
        raise VerificationError(RejectionCode.RATE_LIMITED, "too many failed logins from this address; wait an hour")
    try:
        principal = authenticate_token(desk.store, token, now=desk.now())
    except OperatorError:
        failed.take(address, now=time.monotonic())
        raise
    return begin_session(desk.store, principal, limits=desk.config.operators.session_limits, now=desk.now())


def router(desk: Desk, failed: AddressBuckets) -> APIRouter:
    """The routes; ``failed`` bounds how many wrong tokens an address may try."""
    routes = APIRouter(prefix="/session", tags=["session"])
    limits = desk.config.operators.session_limits

    @routes.post("", status_code=201, summary="Log in with an API token", responses=problems(401, 403),
                 openapi_extra={"requestBody": {"required": True, "content": {"application/json": {
                     "schema": {"$ref": "#/components/schemas/Login"}}}}})  # fmt: skip
    async def begin(request: Request, response: Response) -> SessionView:
        asked = await desk.document(request, Login)
        secret = await desk.run(lambda: login(desk, failed, request, asked.token))
        set_session_cookie(response, secret)
        return _view(await desk.run(lambda: find_session(desk.store, secret, limits=limits, now=desk.now())))

    @routes.get("", summary="Show who is logged in", responses=problems(401))
    def shown(request: Request) -> SessionView:
        return _view(page_session(request, desk.store, limits, now=desk.now()))

    @routes.delete("", status_code=204, summary="Log out", responses=problems(401, 403))
    def end(request: Request, response: Response) -> None:
        given = request.headers.get(CSRF_HEADER, "")
        end_session(desk.store, form_session(request, given, desk.store, limits, now=desk.now()))
        clear_session_cookie(response)

    return routes


def _view(session: Session) -> SessionView:
    principal = session.principal
    return SessionView(
        name=principal.name,
        role=principal.role,
        kind=principal.kind,
        licenses=sorted(principal.licenses) if principal.licenses is not None else None,
        expires_at=session.expires_at,
        csrf_token=session.csrf_token,
    )
