"""Addresses of the pages that everybody may see, of what they are made of, and the choice of a language."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.pages import PAGES_WITH_ADDRESS, SCRIPT_SECURITY_POLICY, asset, pages_for
from sealwright_appliance.serve.requests import (
    APPROVALS_LIMIT,
    FORM_LIMIT,
    json_object,
    peer,
    posted_form,
    read_body,
    uploaded_form,
)
from sealwright_policies.languages import LANGUAGE_COOKIE, Language

SCRIPTS = (
    "page.js",
    "chat.js",
    "conversations.js",
    "documents.js",
    "administration.js",
    "adapters.js",
    "remaining.js",
    "support.js",
    "usage.js",
    "site.js",
    "setup.js",
)
_YEAR_S = 365 * 86_400


def add_page_routes(app: FastAPI, box: Box) -> None:
    """Add them to the gateway."""

    @app.get("/")
    async def front(request: Request) -> HTMLResponse:
        return HTMLResponse(pages_for(request).front(await box.status()))

    @app.post("/approvals/file")
    async def approvals_file(request: Request) -> HTMLResponse:
        form = await uploaded_form(request, APPROVALS_LIMIT + FORM_LIMIT)
        reply = await box.approve(json_object(form.get("approval", "").encode()), peer(request))
        pages = pages_for(request)
        page = pages.approved(reply.json()) if reply.is_success else pages.refused(reply.json())
        return HTMLResponse(page, status_code=reply.status_code)

    @app.get("/chat")
    async def chat(request: Request) -> HTMLResponse:
        return _with_script(pages_for(request).chat())

    @app.get("/administration")
    async def administration(request: Request) -> HTMLResponse:
        return _with_script(pages_for(request).administration())

    @app.get("/style.css")
    async def style() -> Response:
        return Response(asset("style.css"), media_type="text/css")

    for name in SCRIPTS:
        _add_script(app, name)

    @app.post("/language")
    async def choose_language(request: Request) -> Response:
        form = posted_form(await read_body(request, FORM_LIMIT))
        page, language = form.get("page"), form.get("language")
        if page not in PAGES_WITH_ADDRESS or language not in set(Language):
            raise ApiError(400, "invalid_form", "The form is not readable.")
        reply = RedirectResponse(page, 303)
        reply.set_cookie(
            LANGUAGE_COOKIE, language, max_age=_YEAR_S, secure=True, httponly=True, samesite="strict", path="/"
        )
        return reply


def _with_script(page: str) -> HTMLResponse:
    return HTMLResponse(page, headers={"Content-Security-Policy": SCRIPT_SECURITY_POLICY})


def _add_script(app: FastAPI, name: str) -> None:
    @app.get(f"/{name}")
    async def script() -> Response:
        return Response(asset(name), media_type="text/javascript")
