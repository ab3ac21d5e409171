"""The licence service as an ASGI application: wires store, keys and services to the endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from sealwright_licensing import problems
from sealwright_licensing.config import ServiceConfig
from sealwright_licensing.custodian import Custodians
from sealwright_licensing.endpoints import enrollments, flows, health, log, metering, nonces, renewals
from sealwright_licensing.endpoints.calls import WORKERS, Caller
from sealwright_licensing.endpoints.direct import DirectRoutes
from sealwright_licensing.keys import SigningKeys
from sealwright_licensing.limits import AddressBuckets
from sealwright_licensing.logs import logger
from sealwright_licensing.middleware import BodyLimit, RateLimit, RequestLog
from sealwright_licensing.sequencer import Sequencer
from sealwright_licensing.sequencing import sequencing
from sealwright_licensing.service_time import ServiceClock
from sealwright_licensing.services import wire_services
from sealwright_licensing.store_sql import SqlStore
from sealwright_policies.errors import SealwrightError
from sealwright_policies.flows.report import FlowReport
from sealwright_policies.metering.report import MeteringReport
from sealwright_policies.wire.messages import (
    MESSAGE_LIMIT,
    EnrollmentProof,
    EnrollmentRequest,
    NonceRequest,
    RenewalRequest,
)

TITLE = "Sealwright licence service"
_READ_BY_US = (EnrollmentRequest, EnrollmentProof, NonceRequest, RenewalRequest, MeteringReport, FlowReport)


def create_app(store: SqlStore, keys: SigningKeys, custodians: Custodians, config: ServiceConfig) -> ASGIApp:
    """Build the application; the store is closed when it stops."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with sequencing(Sequencer(store, keys.log, config.service_id)):
            yield
        workers.shutdown()
        store.close()

    services, limits = wire_services(store, keys, custodians, config), config.limits
    failed_codes = AddressBuckets(tokens=limits.failed_codes_per_hour, period_s=3600)
    workers = ThreadPoolExecutor(WORKERS, "decision")
    caller = Caller(workers, ServiceClock(store).now)

    app = FastAPI(title=TITLE, version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    posted = (
        enrollments.router(caller, services.enrollment, failed_codes),
        nonces.router(caller, services.renewal),
        renewals.router(caller, services.renewal),
        metering.router(caller, services.metering),
        flows.router(caller, services.flows),
    )
    for router in (*posted, log.router(store, services.proofs), health.router(store)):
        app.include_router(router)
    app.add_exception_handler(SealwrightError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_route)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    app.add_exception_handler(Exception, _fail)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    answering = DirectRoutes(app, posted, _refuse_posted)
    bounded = BodyLimit(answering, limit=MESSAGE_LIMIT, timeout_s=limits.body_s)
    return RequestLog(RateLimit(bounded, AddressBuckets(tokens=limits.requests_per_minute, period_s=60)))


async def _refuse_posted(request: Request, error: Exception) -> Response:
    return await (_refuse if isinstance(error, SealwrightError) else _fail)(request, error)


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, SealwrightError)  # noqa: S101 - registered for it
    shown = problems.problem_of(error)
    if shown.status >= 500:
        logger.error("failed", exc_info=error, extra={"code": shown.code})
    return problems.response(shown)


async def _refuse_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    code = {404: problems.NOT_FOUND, 405: problems.METHOD_NOT_ALLOWED}.get(error.status_code, problems.MALFORMED)
    return problems.response(problems.problem(error.status_code, code, str(error.detail)))


async def _refuse_parameters(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    first = error.errors()[0]
    sentence = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return problems.response(problems.problem(422, problems.MALFORMED, sentence))


async def _fail(_request: Request, error: Exception) -> Response:
    logger.error("failed", exc_info=error, extra={"code": problems.INTERNAL})
    return problems.response(problems.problem(500, problems.INTERNAL, "The service failed; its log says more."))


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, and the schemas of the bodies that we read ourselves."""
    if app.openapi_schema is None:
        described = get_openapi(title=app.title, version=app.version, routes=app.routes)
        template = "#/components/schemas/{model}"
        _, schemas = models_json_schema([(kind, "validation") for kind in _READ_BY_US], ref_template=template)
        described.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        app.openapi_schema = described
    return app.openapi_schema
