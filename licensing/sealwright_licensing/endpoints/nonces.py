"""POST /v1/nonces."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from sealwright_licensing.endpoints.calls import PROBLEMS, Caller, body_of, json_response
from sealwright_licensing.renewal import RenewalService
from sealwright_policies.wire.messages import Nonce, NonceRequest


def router(caller: Caller, service: RenewalService) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/v1/nonces", tags=["renewal"])

    @routes.post(
        "", response_model=Nonce, responses=PROBLEMS, openapi_extra=body_of(NonceRequest),
        summary="Get a nonce to renew with, where the last lease's is gone",
    )  # fmt: skip
    async def issue(request: Request) -> Response:
        asked = await caller.document(request, NonceRequest)
        ids = {"device_id": asked.device_id}
        return json_response(await caller.decide("nonce", ids, lambda now: service.nonce(asked, now=now)))

    return routes
