"""Addresses of the pages that everybody may see, of what they are made of, and the choice of a language."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.pages import CHAT_SECURITY_POLICY, PAGES_WITH_ADDRESS, asset, pages_for
from sealwright_appliance.serve.requests import FORM_LIMIT, posted_form, read_body
from sealwright_policies.languages import LANGUAGE_COOKIE, Language

_YEAR_S = 365 * 86_400


def add_page_routes(app: FastAPI, box: Box) -> None:
    """Add them to the gateway."""

    @app.get("/")
    async def front(request: Request) -> HTMLResponse:
        return HTMLResponse(pages_for(request).front(await box.status()))

    @app.get("/chat")
    async def chat(request: Request) -> HTMLResponse:
        return HTMLResponse(pages_for(request).chat(), headers={"Content-Security-Policy": CHAT_SECURITY_POLICY})

    @app.get("/style.css")
    async def style() -> Response:
        return Response(asset("style.css"), media_type="text/css")

    @app.get("/chat.js")
    async def script() -> Response:
        return Response(asset("chat.js"), media_type="text/javascript")

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
