"""POST /v1/renewals."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from sealwright_licensing.endpoints.calls import PROBLEMS, Caller, body_of, json_response
from sealwright_licensing.renewal import RenewalService
from sealwright_policies.wire.messages import Grant, RenewalRequest


def router(caller: Caller, service: RenewalService) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/v1/renewals", tags=["renewal"])

    @routes.post(
        "", response_model=Grant, responses=PROBLEMS, openapi_extra=body_of(RenewalRequest),
        summary="Prove N and the state, and get leases of N + 1",
    )  # fmt: skip
    async def renew(request: Request) -> Response:
        asked = await caller.document(request, RenewalRequest)
        ids = {"device_id": asked.device_id, "license_id": asked.license_id}
        return json_response(await caller.decide("renew", ids, lambda now: service.renew(asked, now=now)))

    return routes
