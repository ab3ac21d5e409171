"""POST /v1/metering."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from sealwright_licensing.endpoints.calls import PROBLEMS, Caller, body_of, json_response
from sealwright_licensing.metering import MeteringService
from sealwright_policies.metering.report import MeteringReply, MeteringReport


def router(caller: Caller, service: MeteringService) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/v1/metering", tags=["metering"])

    @routes.post(
        "", response_model=MeteringReply, responses=PROBLEMS, openapi_extra=body_of(MeteringReport),
        summary="Report what was served",
    )  # fmt: skip
    async def report(request: Request) -> Response:
        told = await caller.document(request, MeteringReport)
        ids = {"device_id": told.device_id, "license_id": told.license_id}
        return json_response(await caller.decide("metering", ids, lambda now: service.report(told, now=now)))

    return routes
