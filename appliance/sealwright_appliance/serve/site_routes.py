"""The gateway's part in the site's settings: it passes on who asks, what for, and where they have reached the box."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response

from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.keys import shown_key
from sealwright_appliance.serve.pages import SCRIPT_SECURITY_POLICY, pages_for
from sealwright_appliance.serve.requests import FORM_LIMIT, json_object, passed_on, peer, read_body, short_text


def add_site_routes(app: FastAPI, box: Box) -> None:
    """Add them to the gateway."""

    @app.get("/setup")
    async def page(request: Request) -> HTMLResponse:
        content = pages_for(request).setup(await box.status())
        return HTMLResponse(content, headers={"Content-Security-Policy": SCRIPT_SECURITY_POLICY})

    @app.get("/activation/progress")
    async def progress() -> Response:
        return passed_on(await box.activation_progress())

    @app.post("/site")
    async def show(request: Request) -> Response:
        asker, _ = await _asker(request)
        return passed_on(await box.site("POST", "/site", asker))

    @app.put("/site")
    async def change(request: Request) -> Response:
        asker, sent = await _asker(request)
        return passed_on(await box.site("PUT", "/site", asker | {"settings": sent.get("settings")}))

    @app.post("/site/confirmation")
    async def confirm(request: Request) -> Response:
        asker, _ = await _asker(request)
        reached_at = (request.scope.get("server") or ("",))[0]
        return passed_on(await box.site("POST", "/site/confirmation", asker | {"reached_at": reached_at}))


async def _asker(request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """Who asks, by one of the two codes, which the agent checks; and all that was sent."""
    sent = json_object(await read_body(request, FORM_LIMIT))
    authorization = request.headers.get("authorization")
    asker = {"peer": peer(request)}
    if authorization is not None:
        return asker | {"admin_key": short_text("Authorization", shown_key(authorization))}, sent
    return asker | {"claim_code": short_text("claim_code", sent.get("claim_code", ""))}, sent
