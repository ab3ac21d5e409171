"""The gateway's part in renewal and activation by file: pages with forms, and the same for programs.

Files are made and read by the agent. Here they become downloads, uploads and a QR code.
"""

from __future__ import annotations

import io
import re
from typing import Any

import httpx
import segno
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.keys import shown_key
from sealwright_appliance.serve.pages import Pages, pages_for
from sealwright_appliance.serve.requests import (
    FORM_LIMIT,
    json_object,
    passed_on,
    peer,
    posted_form,
    read_body,
    short_text,
    uploaded_form,
)

REPLY_LIMIT = 2 * 1024 * 1024
"""Bytes of an uploaded reply file: some 10 KiB are usual."""
UPLOAD_LIMIT = REPLY_LIMIT + FORM_LIMIT
QR_BORDER = 4
"""Modules of white around a code (ISO/IEC 18004, 5.3.8)."""


def add_air_gap_routes(app: FastAPI, box: Box) -> None:
    """Add them to the gateway."""
    _add_activation(app, box)
    _add_renewal_pages(app, box)
    _add_renewal_for_programs(app, box)


def _add_activation(app: FastAPI, box: Box) -> None:
    @app.get("/activation/file")
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(pages_for(request).activation_by_file(await box.status()))

    @app.post("/activation/file/request")
    async def request_file(request: Request) -> Response:
        form, is_form = await _form_or_json(request, "claim_code", "activation_code")
        answer = await box.activation_request(form, peer(request))
        return await _file(box, answer, "activation", pages_for(request) if is_form else None)

    @app.post("/activation/file/proof")
    async def proof(request: Request) -> Response:
        form, is_form = await _form_or_json(request, "claim_code", "reply")
        answer = await box.activation_proof(form, peer(request))
        return await _file(box, answer, "proof", pages_for(request) if is_form else None)

    @app.post("/activation/file/reply")
    async def reply(request: Request) -> Response:
        form, is_form = await _form_or_json(request, "claim_code", "reply")
        answer = await box.activation_reply(form, peer(request))
        if not is_form:
            return passed_on(answer)
        pages = pages_for(request)
        page = pages.secrets(answer.json(), form) if answer.is_success else pages.refused(answer.json())
        return HTMLResponse(page, status_code=answer.status_code)


def _add_renewal_pages(app: FastAPI, box: Box) -> None:
    @app.get("/renewal")
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(pages_for(request).renewal(await box.status()))

    @app.post("/renewal/request")
    async def request_file(request: Request) -> Response:
        form = posted_form(await read_body(request, FORM_LIMIT))
        answer = await box.renewal_request(short_text("admin_key", form.get("admin_key", "")))
        pages = pages_for(request)
        if not answer.is_success:
            return HTMLResponse(pages.refused(answer.json()), status_code=answer.status_code)
        made = answer.json()
        if form.get("as") == "code":
            return HTMLResponse(pages.qr_code(_qr_svg(made["qr_text"])))
        return await _download(box, made["file"], "renewal")

    @app.post("/renewal/reply")
    async def reply(request: Request) -> Response:
        form = await uploaded_form(request, UPLOAD_LIMIT)
        key = short_text("admin_key", form.get("admin_key", ""))
        answer = await box.renewal_reply(key, _reply_text(form.get("reply")))
        pages = pages_for(request)
        page = pages.renewed(answer.json()) if answer.is_success else pages.refused(answer.json())
        return HTMLResponse(page, status_code=answer.status_code)


def _add_renewal_for_programs(app: FastAPI, box: Box) -> None:
    @app.post("/admin/renewal/request")
    async def request_file(request: Request) -> Response:
        answer = await box.renewal_request(shown_key(request.headers.get("authorization")))
        if not answer.is_success:
            return passed_on(answer)
        made = answer.json()
        return JSONResponse(made | {"qr_svg": _qr_svg(made["qr_text"])})

    @app.post("/admin/renewal/reply")
    async def reply(request: Request) -> Response:
        key = shown_key(request.headers.get("authorization"))
        asked = json_object(await read_body(request, UPLOAD_LIMIT))
        return passed_on(await box.renewal_reply(key, _reply_text(asked.get("reply"))))


async def _form_or_json(request: Request, *names: str) -> tuple[dict[str, str], bool]:
    """The fields of these names from a form or a program, and whether it is a form."""
    kind = request.headers.get("content-type", "")
    is_form = not kind.startswith("application/json")
    sent: dict[str, Any]
    if kind.startswith("multipart/form-data"):
        sent = dict(await uploaded_form(request, UPLOAD_LIMIT))
    elif is_form:
        sent = posted_form(await read_body(request, FORM_LIMIT))
    else:
        sent = json_object(await read_body(request, UPLOAD_LIMIT))
    return {
        name: _reply_text(sent.get(name)) if name == "reply" else short_text(name, sent.get(name, "")) for name in names
    }, is_form


def _reply_text(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or len(value) > REPLY_LIMIT:
        raise ApiError(400, "invalid_parameter", f"reply: a reply file of up to {REPLY_LIMIT} bytes.", param="reply")
    return value


async def _file(box: Box, answer: httpx.Response, what: str, pages: Pages | None) -> Response:
    """A request file to be saved; for a program, which is shown no pages, as a member."""
    if not answer.is_success:
        if pages is not None:
            return HTMLResponse(pages.refused(answer.json()), status_code=answer.status_code)
        return passed_on(answer)
    if pages is None:
        return JSONResponse({"file": answer.text})
    return await _download(box, answer.text, what)


async def _download(box: Box, content: str, what: str) -> Response:
    device = re.sub(r"[^a-z2-7]", "", str((await box.status()).get("device_id") or ""))[:8] or "box"
    headers = {"Content-Disposition": f'attachment; filename="{device}-{what}.request"'}
    return Response(content, media_type="application/octet-stream", headers=headers)


def _qr_svg(text: str) -> str:
    """One code, error correction M or better, to stand in a page or a file."""
    drawn = io.BytesIO()
    segno.make_qr(text, error="m").save(drawn, kind="svg", border=QR_BORDER, xmldecl=False, light="#fff", omitsize=True)
    return drawn.getvalue().decode("ascii")
