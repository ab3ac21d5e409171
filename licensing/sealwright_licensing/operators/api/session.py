"""/api/v1/session: a browser's own session. The only resource that a cookie opens; all others take a token."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

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
from sealwright_licensing.operators.errors import OperatorError, unauthenticated
from sealwright_licensing.operators.oidc import LOGIN_COOKIE, LOGIN_S, OidcLogin
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

    if desk.config.operators.oidc is not None:
        _add_oidc(routes, desk, OidcLogin(desk.config.operators.oidc, desk.folder.path))
    return routes


def _add_oidc(routes: APIRouter, desk: Desk, provider: OidcLogin) -> None:
    @routes.get("/oidc", status_code=302, summary="Log in through the OpenID provider", response_class=Response,
                responses=problems())  # fmt: skip
    def go() -> Response:
        url, secret = provider.begin()
        reply = RedirectResponse(url, 302)
        # Lax: the browser comes back from another site. It opens nothing by itself.
        reply.set_cookie(LOGIN_COOKIE, secret, max_age=LOGIN_S, secure=True, httponly=True, samesite="lax", path="/")
        return reply

    @routes.get("/oidc/callback", summary="Come back from the OpenID provider", response_class=Response,
                responses=problems(401, 403))  # fmt: skip
    def come_back(request: Request) -> Response:
        secret = request.cookies.get(LOGIN_COOKIE)
        if secret is None:
            raise unauthenticated("This browser began no login, or took too long; begin again.")
        principal = provider.finish(secret, request.query_params, now=desk.now())
        limits = desk.config.operators.session_limits
        # A page and no redirect: a cookie that is SameSite=Strict is not sent along one that another site began.
        reply = HTMLResponse(_COME_BACK)
        set_session_cookie(reply, begin_session(desk.store, principal, limits=limits, now=desk.now()))
        reply.delete_cookie(LOGIN_COOKIE, secure=True, httponly=True, samesite="lax", path="/")
        return reply


_COME_BACK = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">'
    '<title>Sealwright</title><a href="/">Sealwright</a></html>'
)


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
