"""How an endpoint calls a service."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel

from sealwright_licensing.journal import OK
from sealwright_licensing.logs import logger
from sealwright_licensing.metrics import DECISIONS
from sealwright_policies.errors import VerificationError
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.messages import MESSAGE_LIMIT, Problem

D = TypeVar("D", bound=BaseModel)
T = TypeVar("T")

WORKERS = 8
"""Decisions in flight at once: verification releases no lock for long, and the database has one writer."""
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}} for status in (400, 403, 404, 422, 429, 503)
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Runs service methods in worker threads. ``now`` gives the service's time, read once a request, in the thread."""

    workers: ThreadPoolExecutor
    now: Callable[[], int]

    async def document(self, request: Request, kind: type[D]) -> D:
        """The request's body as a document.

        Raises:
            FormatError: it is none.
        """
        return parse_json(kind, await request.body(), limit=MESSAGE_LIMIT)

    async def decide(self, purpose: str, ids: dict[str, str], decision: Callable[[int], T]) -> T:
        """Make a decision; log it with its code."""
        try:
            context = contextvars.copy_context()  # what is logged in the thread carries the request's id
            loop = asyncio.get_running_loop()
            made = await loop.run_in_executor(self.workers, context.run, lambda: decision(self.now()))
        except VerificationError as denial:
            DECISIONS.labels(purpose, denial.code.value).inc()
            logger.warning("denied", extra={"purpose": purpose, "code": denial.code.value, **ids})
            raise
        DECISIONS.labels(purpose, OK).inc()
        logger.info("granted", extra={"purpose": purpose, "code": "ok", **ids})
        return made


def json_response(document: BaseModel | bytes, status: int = 200) -> Response:
    """A document, or one that was stored as bytes."""
    body = document if isinstance(document, bytes) else document_bytes(document)
    return Response(body, status, {"Cache-Control": "no-store"}, "application/json")


def body_of(kind: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's description of a body that we read ourselves, so that its bytes are bounded before they are parsed."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
