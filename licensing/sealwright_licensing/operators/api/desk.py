"""What every endpoint of the operators' API stands on: who asks, whether he may, and the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import anyio.to_thread
from fastapi import Path, Request
from pydantic import BaseModel

from sealwright_licensing.config import ServiceConfig, ServiceFolder
from sealwright_licensing.limits import Buckets
from sealwright_licensing.operators.errors import forbidden, unauthenticated
from sealwright_licensing.operators.principals import Principal
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.tokens import authenticate_token
from sealwright_licensing.store_sql import SqlStore
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.messages import Problem

D = TypeVar("D", bound=BaseModel)
T = TypeVar("T")

BODY_LIMIT = 64 * 1024
"""Bytes of the longest body that an operator sends."""
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
ResourceId = Annotated[str, Path(pattern=ID_PATTERN, description="The resource's id, whole.")]
PERMISSION = "x-permission"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the problems that a route may answer with."""
    described: dict[str, Any] = {"model": Problem, "content": {"application/problem+json": {}}}
    return dict.fromkeys(sorted({400, 429, 503, *statuses}), described)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where operators' requests come in. ``now`` gives the service's time, seconds since the epoch."""

    store: SqlStore
    folder: ServiceFolder
    config: ServiceConfig
    buckets: Buckets
    """Requests of each token."""
    now: Callable[[], int]

    def guard(self, request: Request) -> None:
        """Let in whom the route's permission is granted; nobody, where the route names none.

        Raises:
            OperatorError: UNAUTHENTICATED, FORBIDDEN.
            VerificationError: RATE_LIMITED.
        """
        principal = self._bearer(request)
        described = getattr(request.scope.get("route"), "openapi_extra", None) or {}
        if PERMISSION not in described:
            raise forbidden("This is not open to anybody.")
        principal.require(Permission(described[PERMISSION]))
        request.state.principal = principal

    def _bearer(self, request: Request) -> Principal:
        """Who asks, by the API token of the request."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated("The request has no API token: Authorization: Bearer swl_….")
        principal = authenticate_token(self.store, token, now=self.now())
        if not self.buckets.take(principal.token_id, now=time.monotonic()):
            raise VerificationError(RejectionCode.RATE_LIMITED, "too many requests with this token")
        return principal

    async def document(self, request: Request, kind: type[D]) -> D:
        """The request's body as a document; no body is one without members.

        Raises:
            FormatError: it is none.
        """
        return parse_json(kind, await request.body() or b"{}", limit=BODY_LIMIT)

    async def run(self, call: Callable[[], T]) -> T:
        """Call what waits for the database in a worker thread."""
        return await anyio.to_thread.run_sync(call)


def needs(permission: Permission, *statuses: int, **extra: Any) -> dict[str, Any]:
    """What a route is declared with: the permission that it needs, its problems, its description."""
    return {
        "responses": problems(401, 403, *statuses),
        "openapi_extra": {PERMISSION: permission.value, "security": [{"token": []}], **extra},
    }


def principal_of(request: Request) -> Principal:
    """Who asks; the guard has put it there."""
    principal: Principal = request.state.principal
    return principal
