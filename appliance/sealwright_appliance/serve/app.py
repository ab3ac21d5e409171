"""The gateway: an OpenAI-compatible API over TLS, and the page on which a box is activated.

It has the network and no weights. What it passes to an engine is an allow-list (:mod:`.chat`); what it says of the box
comes from the agent (:mod:`.box`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as ASGIMessage

from sealwright_appliance.recent_lines import RecentLines
from sealwright_appliance.serve.adapter_routes import add_adapter_routes
from sealwright_appliance.serve.adapters import Adapters
from sealwright_appliance.serve.air_gap_routes import add_air_gap_routes
from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.document_routes import add_document_routes
from sealwright_appliance.serve.document_vectors import Retrieval, VectorMaker, VectorModel
from sealwright_appliance.serve.documents import Documents
from sealwright_appliance.serve.engine_room import EngineRoom
from sealwright_appliance.serve.errors import ApiError, engine_unavailable
from sealwright_appliance.serve.flow_listener import FlowListener
from sealwright_appliance.serve.flow_routes import Flows, add_flow_routes
from sealwright_appliance.serve.flow_sending import FlowSending
from sealwright_appliance.serve.gate import Counting, Gate
from sealwright_appliance.serve.gateway_tls import GatewayTls
from sealwright_appliance.serve.kept_conversations import add_conversation_routes
from sealwright_appliance.serve.keys import ApiKey, authenticate, key_bounds, require_admin, shown_key
from sealwright_appliance.serve.meter import Meter, MeterSender
from sealwright_appliance.serve.metrics import CONTENT_TYPE, metrics_text
from sealwright_appliance.serve.model_routes import add_model_routes
from sealwright_appliance.serve.page_routes import add_page_routes
from sealwright_appliance.serve.pages import CONTENT_SECURITY_POLICY, pages_for
from sealwright_appliance.serve.queued_engine import Load, QueuedEngine
from sealwright_appliance.serve.requests import (
    APPROVALS_LIMIT,
    FORM_LIMIT,
    claimed,
    json_object,
    passed_on,
    peer,
    read_body,
    short_text,
)
from sealwright_appliance.serve.site_routes import add_site_routes
from sealwright_appliance.serve.support_route import add_support_route
from sealwright_appliance.serve.watch import Watch
from sealwright_policies.outflow import NOTHING_SAID, ReleaseOutflow

WARNING_HEADER = "Sealwright-Warning"
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def create_app(
    box: Box,
    engines: Mapping[str, QueuedEngine],
    room: EngineRoom,
    outflow: ReleaseOutflow = NOTHING_SAID,
    *,
    documents: Documents,
    adapters: Adapters,
    vectors: VectorModel | None = None,
    tls: GatewayTls | None = None,
    recent: RecentLines | None = None,
    too_large: Mapping[str, str] | None = None,
) -> FastAPI:
    """Build the gateway.

    Args:
        box: the agent's socket.
        engines: by model id, for every payload that this boot has opened.
        room: in which they are.
        outflow: what may leave each of them.
        documents: the document service's socket.
        adapters: the adapter service's.
        vectors: the model, one of the engines, by which passages are found as well; None: by words alone.
        too_large: models that the machine has not the memory for; in a sentence each.
        tls: with what it speaks to other boxes; None: it speaks to none.
        recent: lines of this process; None: nobody keeps them.
    """

    meter = Meter()
    watch = Watch(box.report_counted)
    flows = Flows(FlowListener(box, tls), FlowSending(box, tls)) if tls is not None else None
    retrieval = Retrieval(documents, _vector_maker(vectors, engines, documents, box))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with MeterSender(meter, box.report_usage).running(), watch.running(), AsyncExitStack() as making:
            if retrieval.maker is not None:
                await making.enter_async_context(retrieval.maker.running())
            yield
        await room.close()
        if flows is not None:
            await flows.close()
        await box.close()

    app = FastAPI(title="Sealwright box", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    _add_errors(app)
    _add_box_routes(app, box)
    add_page_routes(app, box)
    add_site_routes(app, box)
    _add_readiness(app, box, engines)
    add_support_route(app, box, partial(_loads, engines), recent or RecentLines())
    _add_load(app, box, engines, room, adapters)
    app.add_middleware(WarningHeader, box=box)
    _add_key_routes(app, box, {*engines, *(too_large or {})} - set(adapters.members.values()))
    add_conversation_routes(app, box)
    _add_metering_routes(app, box)
    add_air_gap_routes(app, box)
    _add_outflow_routes(app, box)
    if flows is not None:
        add_flow_routes(app, box, flows, partial(_admin_key, box=box))
    gate = Gate(box, engines, Counting(meter, watch, outflow), too_large or {}, adapters)
    add_document_routes(app, gate, retrieval)
    add_adapter_routes(app, gate, adapters)
    add_model_routes(app, gate, retrieval)
    return app


def _vector_maker(
    model: VectorModel | None, engines: Mapping[str, QueuedEngine], documents: Documents, box: Box
) -> VectorMaker | None:
    if model is None:
        return None

    def is_busy() -> bool:
        return any(engine.is_busy for engine in engines.values())

    return VectorMaker(model, engines[model.release.model], documents, box.require_serving, is_busy)


class SecurityHeaders:
    """Adds :data:`SECURITY_HEADERS` that are not set to every response; plain ASGI, so that streams pass untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wrap ``send``."""

        async def with_headers(message: ASGIMessage) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def refuse(_: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(404)
    async def no_route(_: Request, __: Exception) -> JSONResponse:
        return ApiError(404, "not_found", "There is no such address.").response()

    @app.exception_handler(405)
    async def no_method(_: Request, __: Exception) -> JSONResponse:
        return ApiError(405, "method_not_allowed", "This method is not possible here.").response()

    app.add_middleware(SecurityHeaders)


def _add_box_routes(app: FastAPI, box: Box) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/status")
    async def status() -> dict[str, Any]:
        return await box.status()

    @app.get("/approvals")
    async def approvals(request: Request) -> Response:
        return passed_on(await box.approvals(peer(request)))

    @app.post("/approvals")
    async def approve(request: Request) -> Response:
        return passed_on(await box.approve(json_object(await read_body(request, APPROVALS_LIMIT)), peer(request)))

    @app.post("/withdrawals")
    async def withdraw(request: Request) -> Response:
        return passed_on(await box.withdraw(json_object(await read_body(request, FORM_LIMIT)), peer(request)))

    @app.post("/wipe")
    async def wipe(request: Request) -> Response:
        return passed_on(await box.wipe(json_object(await read_body(request, FORM_LIMIT)), peer(request)))

    @app.post("/evidence")
    async def evidence(request: Request) -> Response:
        asked = json_object(await read_body(request, FORM_LIMIT))
        return passed_on(await box.evidence(short_text("nonce", asked.get("nonce")), peer(request)))

    @app.post("/activation")
    async def activation(request: Request) -> Response:
        claim, is_form = await claimed(request, "claim_code", "activation_code")
        reply = await box.activate(claim, peer(request))
        if is_form:
            pages = pages_for(request)
            page = pages.secrets(reply.json(), claim) if reply.is_success else pages.refused(reply.json())
            return HTMLResponse(page, status_code=reply.status_code)
        return passed_on(reply)

    @app.post("/activation/acknowledgement")
    async def acknowledgement(request: Request) -> Response:
        claim, is_form = await claimed(request, "claim_code")
        reply = await box.acknowledge(claim, peer(request))
        if is_form:
            pages = pages_for(request)
            page = pages.acknowledged() if reply.is_success else pages.refused(reply.json())
            return HTMLResponse(page, status_code=reply.status_code)
        return passed_on(reply)


def _add_readiness(app: FastAPI, box: Box, engines: Mapping[str, QueuedEngine]) -> None:
    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        await box.require_serving()
        if not any(load.can_answer for load in (await _loads(engines)).values()):
            raise engine_unavailable()
        return {"status": "ready"}


async def _loads(engines: Mapping[str, QueuedEngine]) -> dict[str, Load]:
    return dict(zip(engines, await asyncio.gather(*(engine.load() for engine in engines.values())), strict=True))


def _add_load(
    app: FastAPI, box: Box, engines: Mapping[str, QueuedEngine], room: EngineRoom, adapters: Adapters
) -> None:
    """For administrators and their monitors."""

    @app.get("/admin/load")
    async def load(request: Request) -> dict[str, Any]:
        require_admin(await _authenticated(request, box))
        bases = {member: model for model, member in adapters.members.items()}
        loads = sorted((await _loads(engines)).items())
        models = [{"id": name, "adapters_of": bases.get(name)} | asdict(one) for name, one in loads]
        return {"models": models, "memory_mib": room.room_mib}

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        require_admin(await _authenticated(request, box))
        text = metrics_text(await box.status(), await _loads(engines), room.room_mib, await adapters.counts())
        return Response(text, media_type=CONTENT_TYPE)


class WarningHeader:
    """Tells programs that use the API of an end that is near (policies/spec/lease.md, 7)."""

    def __init__(self, app: ASGIApp, box: Box) -> None:
        self._app = app
        self._box = box

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def with_warning(message: ASGIMessage) -> None:
            warning = self._box.warning
            if message["type"] == "http.response.start" and warning is not None:
                MutableHeaders(scope=message)[WARNING_HEADER] = warning
            await send(message)

        is_api = scope["type"] == "http" and scope["path"].startswith("/v1/")
        await self._app(scope, receive, with_warning if is_api else send)


def _add_key_routes(app: FastAPI, box: Box, models: Collection[str]) -> None:
    """For administrators. A name is a parameter and not part of the address, since it may be any text."""
    admin_key = partial(_admin_key, box=box)

    @app.get("/admin/api-keys")
    async def list_keys(request: Request) -> dict[str, Any]:
        await admin_key(request)
        return {"keys": [key.described() for key in await box.keys()]}

    @app.post("/admin/api-keys")
    async def create_key(request: Request) -> Response:
        shown = await admin_key(request)
        asked = json_object(await read_body(request, FORM_LIMIT))
        admin = asked.get("admin", False)
        if not isinstance(admin, bool):
            raise ApiError(400, "invalid_parameter", "admin: true or false.", param="admin")
        new = {"name": _key_name(asked.get("name")), "admin": admin} | key_bounds(asked, models)
        return passed_on(await box.create_key(new, shown))

    @app.delete("/admin/api-keys")
    async def revoke_key(request: Request) -> Response:
        shown = await admin_key(request)
        return passed_on(await box.revoke_key(_key_name(request.query_params.get("name")), shown))


def _add_metering_routes(app: FastAPI, box: Box) -> None:
    """For administrators: what the vendor will be told, and whether with the names of keys."""

    @app.get("/admin/metering")
    async def view(request: Request) -> Response:
        require_admin(await _authenticated(request, box))
        return passed_on(await box.metering())

    @app.get("/admin/metering/days")
    async def days(request: Request) -> Response:
        require_admin(await _authenticated(request, box))
        return passed_on(await box.usage_days())

    @app.put("/admin/metering")
    async def choose(request: Request) -> Response:
        require_admin(await _authenticated(request, box))
        names = json_object(await read_body(request, FORM_LIMIT)).get("names")
        if not isinstance(names, bool):
            raise ApiError(400, "invalid_parameter", "names: true or false.", param="names")
        return passed_on(await box.choose_metering(shown_key(request.headers.get("authorization")), names=names))

    @app.post("/admin/metering/report")
    async def report(request: Request) -> Response:
        require_admin(await _authenticated(request, box))
        return passed_on(await box.order_report(shown_key(request.headers.get("authorization"))))


def _add_outflow_routes(app: FastAPI, box: Box) -> None:
    """For administrators: what is used of the budgets, and keys whose requests look like the copying of a model."""

    @app.get("/admin/outflow")
    async def view(request: Request) -> Response:
        require_admin(await _authenticated(request, box))
        return passed_on(await box.outflow())

    @app.post("/admin/outflow/clear")
    async def clear(request: Request) -> Response:
        require_admin(await _authenticated(request, box))
        name = _key_name(json_object(await read_body(request, FORM_LIMIT)).get("name"))
        return passed_on(await box.clear_key(name, shown_key(request.headers.get("authorization"))))


async def _admin_key(request: Request, box: Box) -> str:
    require_admin(await _authenticated(request, box))
    return shown_key(request.headers.get("authorization"))


async def _authenticated(request: Request, box: Box) -> ApiKey:
    return authenticate(request.headers.get("authorization"), await box.keys(), time.time())


def _key_name(value: object) -> str:
    name = short_text("name", value)
    if not name:
        raise ApiError(400, "invalid_parameter", "name: 1 to 64 characters.", param="name")
    return name
