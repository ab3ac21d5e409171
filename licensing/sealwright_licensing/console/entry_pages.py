"""Logging in and out, and the choice of a language."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from sealwright_licensing.console.forms import Form, read_form
from sealwright_licensing.console.pages import Console, Visit, address, own_path
from sealwright_licensing.limits import AddressBuckets
from sealwright_licensing.operators.api.session import login
from sealwright_licensing.operators.browser import (
    CSRF_FIELD,
    clear_session_cookie,
    form_session,
    require_same_origin,
    set_session_cookie,
)
from sealwright_licensing.operators.sessions import end_session
from sealwright_policies.errors import SealwrightError
from sealwright_policies.languages import LANGUAGE_COOKIE, Language

_YEAR_S = 365 * 86_400
_FORM = Depends(read_form)


def router(console: Console, failed: AddressBuckets) -> APIRouter:
    """The routes; ``failed`` bounds how many wrong tokens an address may try."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/login")
    def login_page(request: Request) -> Response:
        return _login_page(console, console.arrive(request), own_path(request.query_params.get("next", "/")))

    @routes.post("/login")
    def log_in(request: Request, form: Form = _FORM) -> Response:
        target = own_path(form.text("next"))
        visit = console.arrive(request, form=form)
        try:
            secret = login(console.desk, failed, request, form.text("token"))
        except SealwrightError as error:
            return _login_page(console, visit, target, error)
        reply = RedirectResponse(target, 303)
        set_session_cookie(reply, secret)
        return reply

    @routes.post("/logout")
    def log_out(request: Request, form: Form = _FORM) -> Response:
        desk, limits = console.desk, console.desk.config.operators.session_limits
        session = form_session(request, form.text(CSRF_FIELD), desk.store, limits, now=desk.now())
        end_session(desk.store, session)
        reply = RedirectResponse(address("/login", {"left": "yes"}), 303)
        clear_session_cookie(reply)
        return reply

    @routes.post("/language")
    def set_language(request: Request, form: Form = _FORM) -> Response:
        require_same_origin(request)
        reply = RedirectResponse(own_path(form.text("next", most=2000)), 303)
        chosen = form.choice("language", Language)
        reply.set_cookie(
            LANGUAGE_COOKIE, chosen.value, max_age=_YEAR_S, secure=True, httponly=True, samesite="strict", path="/"
        )
        return reply

    return routes


def _login_page(console: Console, visit: Visit, target: str, error: SealwrightError | None = None) -> Response:
    problem = console.problem_of(error) if error is not None else None
    return console.page(
        visit, "login.html", status=problem.status if problem else 200,
        problem=problem, target=target, left="left" in visit.request.query_params,
        provider=console.desk.config.operators.oidc is not None,
    )  # fmt: skip
