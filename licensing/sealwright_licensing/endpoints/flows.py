"""POST /v1/flows."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from sealwright_licensing.endpoints.calls import PROBLEMS, Caller, body_of, json_response
from sealwright_licensing.flows import FlowService
from sealwright_policies.flows.report import FlowReply, FlowReport


def router(caller: Caller, service: FlowService) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/v1/flows", tags=["flows"])

    @routes.post(
        "", response_model=FlowReply, responses=PROBLEMS, openapi_extra=body_of(FlowReport),
        summary="Report what came from other boxes and went to them",
    )  # fmt: skip
    async def report(request: Request) -> Response:
        told = await caller.document(request, FlowReport)
        ids = {"device_id": told.device_id, "license_id": told.license_id}
        return json_response(await caller.decide("flow", ids, lambda now: service.report(told, now=now)))

    return routes
