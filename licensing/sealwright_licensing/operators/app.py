"""The operators' side as an ASGI application: a route of the API is open to whom its permission is granted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from sealwright_licensing import problems
from sealwright_licensing.config import ServiceConfig, ServiceFolder
from sealwright_licensing.console.app import add_console, problem_page
from sealwright_licensing.console.headers import HEADERS, SecurityHeaders
from sealwright_licensing.console.pages import Console
from sealwright_licensing.endpoints import health
from sealwright_licensing.limits import AddressBuckets, Buckets
from sealwright_licensing.logs import logger
from sealwright_licensing.middleware import BodyLimit, RateLimit, RequestLog
from sealwright_licensing.operators.api import (
    bodies,
    decisions,
    device_changes,
    devices,
    leases,
    license_changes,
    licenses,
    metering,
    metrics,
    operations,
    releases,
    roots,
    session,
    status,
    tokens,
)
from sealwright_licensing.operators.api.desk import BODY_LIMIT, Desk
from sealwright_licensing.operators.errors import NOT_POSSIBLE, OperatorError
from sealwright_licensing.store_sql import SqlStore
from sealwright_policies.errors import RejectionCode, SealwrightError, UsageError, VerificationError
from sealwright_policies.wire.messages import Problem

TITLE = "Sealwright licence service: operators' API"
API = "/api/v1"
_MODULES = (status, licenses, license_changes, devices, device_changes, leases, releases, decisions, operations,
            metering, roots, tokens)  # fmt: skip
_READ_BY_US = (
    session.Login, bodies.Nothing, bodies.LicenseIssue, bodies.LicenseChange, bodies.LicenseRenewal,
    bodies.VersionFloor, bodies.Resumption, bodies.TransferOrder, bodies.FirmwareApproval, bodies.Settlement,
)  # fmt: skip
_UNKNOWN = {
    RejectionCode.DEVICE_UNKNOWN, RejectionCode.LICENSE_UNKNOWN, RejectionCode.RELEASE_UNKNOWN,
    RejectionCode.METERING_CHAIN,
}  # fmt: skip
_HOUR_S = 3600


def create_operator_app(
    store: SqlStore, folder: ServiceFolder, config: ServiceConfig, now: Callable[[], int]
) -> FastAPI:
    """Build the application; the store is closed when it stops."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    limits = config.operators
    desk = Desk(store, folder, config, Buckets(tokens=limits.requests_per_minute, period_s=60), now)
    app = FastAPI(title=TITLE, version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.desk = desk
    api = APIRouter(prefix=API, dependencies=[Depends(desk.guard)])
    for module in _MODULES:
        api.include_router(module.router(desk))
    app.include_router(api)
    app.include_router(metrics.router(desk), dependencies=[Depends(desk.guard)])
    app.include_router(health.router(store))
    failed = AddressBuckets(tokens=limits.failed_logins_per_hour, period_s=_HOUR_S)
    app.include_router(session.router(desk, failed), prefix=API)
    app.state.console = Console(desk, problem_of)
    add_console(app, app.state.console, failed)
    app.add_exception_handler(SealwrightError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    app.add_exception_handler(HTTPException, _refuse_route)
    app.add_exception_handler(Exception, _fail)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    # The last one added is the outermost: log, then headers, rate, body.
    app.add_middleware(BodyLimit, limit=BODY_LIMIT, timeout_s=config.limits.body_s)
    app.add_middleware(RateLimit, buckets=AddressBuckets(tokens=limits.requests_per_minute, period_s=60))
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestLog)
    return app


def _reply(request: Request, shown: Problem) -> Response:
    """A problem as a page for a browser, as a document for a program."""
    return problem_page(request.app.state.console, request, shown) or problems.response(shown)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, SealwrightError)  # noqa: S101 - registered for it
    shown = problem_of(error)
    if shown.status >= 500:
        logger.error("failed", exc_info=error, extra={"code": shown.code})
    reply = _reply(request, shown)
    if reply.status_code == 401:
        reply.headers["WWW-Authenticate"] = 'Bearer realm="sealwright"'
    return reply


def problem_of(error: SealwrightError) -> Problem:
    """The problem that an operator is told."""
    match error:
        case OperatorError():
            return problems.problem(error.status, error.code, str(error))
        case UsageError():
            return problems.problem(409, NOT_POSSIBLE, str(error))
        case VerificationError() if error.code in _UNKNOWN:
            return problems.problem_of(error).model_copy(update={"status": 404, "title": "Not found"})
        case _:
            return problems.problem_of(error)


async def _refuse_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return _reply(request, problems.problem(400, problems.MALFORMED, f"{where}: {first['msg']}"))


async def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    code = {404: problems.NOT_FOUND, 405: problems.METHOD_NOT_ALLOWED}.get(error.status_code, problems.MALFORMED)
    reply = _reply(request, problems.problem(error.status_code, code, str(error.detail)))
    reply.headers.update(error.headers or {})
    return reply


async def _fail(request: Request, error: Exception) -> Response:
    logger.error("failed", exc_info=error, extra={"code": problems.INTERNAL})
    reply = _reply(request, problems.problem(500, problems.INTERNAL, "The service failed; its log says more."))
    reply.headers.update(HEADERS)  # made outside of all middleware
    return reply


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with tokens as the way in, and the schemas of the bodies that we read ourselves."""
    if app.openapi_schema is None:
        described = get_openapi(title=app.title, version=app.version, routes=app.routes)
        template = "#/components/schemas/{model}"
        _, schemas = models_json_schema([(kind, "validation") for kind in _READ_BY_US], ref_template=template)
        components = described.setdefault("components", {})
        components.setdefault("schemas", {}).update(schemas["$defs"])
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "swl_"}}
        for operations in described["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)  # parameters that do not fit are 400 here
        app.openapi_schema = described
    return app.openapi_schema
