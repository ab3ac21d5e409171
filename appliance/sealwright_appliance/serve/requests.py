"""What the gateway reads of a request, bounded: bodies, forms, uploads, short texts."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qs

import httpx
from fastapi import Request
from fastapi.responses import Response
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from sealwright_appliance.serve.errors import ApiError, client_gone

FORM_LIMIT = 4096
"""Bytes of an activation or key request."""
APPROVALS_LIMIT = 64 * 1024
"""Bytes of the customer's approvals of a release."""
TEXT_LIMIT = 64
"""Characters of a code or a name."""
MOST_FIELDS = 8


async def read_body(request: Request, limit: int) -> bytes:
    """The body, at most ``limit`` bytes of it in memory."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise ApiError(413, "body_too_large", f"The body is larger than {limit} bytes.")
            parts.append(part)
    except ClientDisconnect:
        raise client_gone() from None
    return b"".join(parts)


async def claimed(request: Request, *names: str) -> tuple[dict[str, str], bool]:
    """The fields of these names that a form or a program sends, and whether it is a form."""
    is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    body = await read_body(request, FORM_LIMIT)
    sent = posted_form(body) if is_form else json_object(body)
    return {name: short_text(name, sent[name]) for name in names if name in sent}, is_form


def short_text(name: str, value: object) -> str:
    """A value of a request."""
    if not isinstance(value, str) or len(value) > TEXT_LIMIT:
        raise ApiError(400, "invalid_parameter", f"{name}: text of up to {TEXT_LIMIT} characters.", param=name)
    return value


async def uploaded_form(request: Request, limit: int) -> dict[str, str]:
    """The fields of a form with a file, whose content stands for its field.

    Raises:
        ApiError: 400, it is not readable; 413, it is too long.
    """
    body = await read_body(request, limit)

    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, once(), max_files=1, max_fields=MOST_FIELDS, max_part_size=limit)
    try:
        form = await parser.parse()
        return {
            name: (await value.read()).decode("ascii", "replace") if isinstance(value, UploadFile) else value.strip()
            for name, value in form.items()
        }
    except (MultiPartException, FormParserError, KeyError, ValueError):
        raise ApiError(400, "invalid_form", "The form is not readable.") from None


def peer(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def passed_on(reply: httpx.Response) -> Response:
    """The agent's reply as it is."""
    return Response(reply.content, status_code=reply.status_code, media_type=reply.headers["content-type"])


def json_object(body: bytes) -> dict[str, Any]:
    """An object that can be passed on: Python reads numbers and halves of characters that it does not write.

    Raises:
        ApiError: 400.
    """
    try:
        value = json.loads(body)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise ApiError(400, "invalid_json", "The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_json", "The body is not a JSON object.")
    return value


def posted_form(body: bytes) -> dict[str, Any]:
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=8)
    except ValueError:
        raise ApiError(400, "invalid_form", "The form is not readable.") from None
    return {name: values[0].strip() for name, values in fields.items()}
