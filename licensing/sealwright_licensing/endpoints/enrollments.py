"""POST /v1/enrollments and /v1/enrollments/proof."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response

from sealwright_licensing.endpoints.calls import PROBLEMS, Caller, body_of, json_response
from sealwright_licensing.enrollment import EnrollmentService
from sealwright_licensing.limits import AddressBuckets
from sealwright_licensing.middleware import client_address
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.messages import EnrollmentChallenge, EnrollmentProof, EnrollmentRequest, Grant


def router(caller: Caller, service: EnrollmentService, failed_codes: AddressBuckets) -> APIRouter:
    """The routes; ``failed_codes`` bounds how many wrong activation codes an address may try."""
    routes = APIRouter(prefix="/v1/enrollments", tags=["enrolment"])

    @routes.post(
        "", status_code=201, response_model=EnrollmentChallenge, responses=PROBLEMS,
        openapi_extra=body_of(EnrollmentRequest), summary="Begin an enrolment",
    )  # fmt: skip
    async def begin(request: Request) -> Response:
        address = client_address(request.scope)
        if not failed_codes.has_token(address, now=time.monotonic()):
            raise VerificationError(
                RejectionCode.RATE_LIMITED, "too many wrong activation codes from this address; wait an hour"
            )
        asked = await caller.document(request, EnrollmentRequest)
        try:
            challenge = await caller.decide("enroll", {}, lambda now: service.challenge(asked, now=now))
        except VerificationError as denial:
            if denial.code is RejectionCode.ACTIVATION_CODE_INVALID:
                failed_codes.take(address, now=time.monotonic())
            raise
        return json_response(challenge, 201)

    @routes.post(
        "/proof", status_code=201, response_model=Grant, responses=PROBLEMS,
        openapi_extra=body_of(EnrollmentProof), summary="Prove it, and get keys and a lease",
    )  # fmt: skip
    async def prove(request: Request) -> Response:
        proof = await caller.document(request, EnrollmentProof)
        return json_response(await caller.decide("enroll", {}, lambda now: service.prove(proof, now=now)), 201)

    return routes
