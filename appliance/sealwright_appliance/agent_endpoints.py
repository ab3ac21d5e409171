"""The agent's HTTP on its UNIX socket; only the gateway's group can connect. Errors are RFC 9457 problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from sealwright_appliance.activation import FIRST_KEY_NAME, Activation, ActivationProgress, CustomerSecrets
from sealwright_appliance.agent_by_file import ByFile, add_activation_by_file, add_renewal_by_file
from sealwright_appliance.air_gap import AirGapError
from sealwright_appliance.api_keys import ApiKeyError, ApiKeys, KeyEnd, KeyFile, KeyModels, KeyName
from sealwright_appliance.boot import BoxCode
from sealwright_appliance.claim import ClaimError
from sealwright_appliance.customer_evidence import EvidenceError
from sealwright_appliance.customer_orders import OrderError
from sealwright_appliance.engine_orders import EngineError
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.license_client import DeniedError, ServiceUnreachableError
from sealwright_appliance.metering.endpoints import ReportingMeter, add_metering
from sealwright_appliance.outflow.box_outflow import BoxOutflow
from sealwright_appliance.outflow.endpoints import add_outflow
from sealwright_appliance.site.errors import SiteError
from sealwright_appliance.status import BoxStatus
from sealwright_appliance.status_board import StatusBoard
from sealwright_policies.errors import FormatError, SealwrightError, UsageError, VerificationError
from sealwright_policies.wire.encoding import Document
from sealwright_policies.wire.messages import Problem

PROBLEM_TYPE = "application/problem+json"

PeerAddress = Annotated[str, Field(max_length=64)]
"""Of who asks, by the gateway's word; if that is false, the limit for all peers together holds."""


class ActivationRequest(Document):
    """``POST /activation``."""

    claim_code: Annotated[str, Field(max_length=64)]
    activation_code: Annotated[str, Field(max_length=64)] = ""
    """Not needed to get the secrets again."""
    peer: PeerAddress


class Acknowledgement(Document):
    """``POST /activation/acknowledgement``."""

    claim_code: Annotated[str, Field(max_length=64)]
    peer: PeerAddress


class KeyRequest(Document):
    """``DELETE /api-keys``."""

    name: KeyName
    admin_key: Annotated[str, Field(max_length=64)]
    """Of the administrator who asks."""


class NewKeyRequest(KeyRequest):
    """``POST /api-keys``."""

    admin: bool = False
    """Whether the new key is an administrator's too."""
    models: KeyModels | None = None
    expires: KeyEnd | None = None


class NewKey(Document):
    """The key, once."""

    name: str
    admin: bool
    models: list[str] | None
    expires: int | None
    api_key: str


def create_agent_app(
    board: StatusBoard,
    activation: Activation | None,
    api_keys: ApiKeys,
    by_file: ByFile,
    outflow: BoxOutflow,
    *,
    meter: ReportingMeter | None = None,
) -> FastAPI:
    """Build the endpoints.

    Args:
        activation: None while the state volume is closed.
        outflow: budgets of the models.
        meter: None before activation.
    """
    app = FastAPI(title="Sealwright agent", docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(SealwrightError)
    async def refuse(_: Request, error: SealwrightError) -> JSONResponse:
        mismatches = error.problem.mismatches if isinstance(error, DeniedError) else []
        return _problem(*_meaning(error), mismatches)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return _problem(400, "INVALID_REQUEST", f"{where or 'body'}: {first['msg']}.")

    @app.get("/status")
    async def status() -> BoxStatus:
        return board.status

    if activation is not None:
        _add_activation(app, activation)
        if by_file.activation is not None:
            add_activation_by_file(app, by_file.activation)
    else:

        @app.post("/activation{_:path}")
        async def closed() -> None:
            raise ClaimError(409, board.status.code or BoxCode.STATE_VOLUME, board.status.sentence)

    _add_api_keys(app, board, api_keys)
    add_renewal_by_file(app, by_file.renewal, api_keys)
    add_outflow(app, outflow, api_keys)
    if meter is not None:
        add_metering(app, api_keys, meter)
    return app


def _add_activation(app: FastAPI, activation: Activation) -> None:
    @app.post("/activation")
    async def activate(request: ActivationRequest) -> CustomerSecrets:
        return await run_in_threadpool(activation.activate, request.claim_code, request.activation_code, request.peer)

    @app.get("/activation/progress")
    async def progress() -> ActivationProgress:
        return activation.progress

    @app.post("/activation/acknowledgement")
    async def acknowledge(request: Acknowledgement) -> JSONResponse:
        await run_in_threadpool(activation.acknowledge, request.claim_code, request.peer)
        return JSONResponse({"erased": True}, background=BackgroundTask(activation.settle))


def _add_api_keys(app: FastAPI, board: StatusBoard, api_keys: ApiKeys) -> None:
    @app.get("/api-keys")
    async def keys() -> KeyFile:
        return await run_in_threadpool(api_keys.load)

    @app.post("/api-keys")
    async def create_key(request: NewKeyRequest) -> NewKey:
        await run_in_threadpool(api_keys.require_admin, request.admin_key)
        named = request.model_dump(include={"admin", "models", "expires"})
        key = await run_in_threadpool(api_keys.create, request.name, **named)
        return NewKey(name=request.name, **named, api_key=key)

    @app.delete("/api-keys")
    async def revoke_key(request: KeyRequest) -> dict[str, str]:
        await run_in_threadpool(api_keys.require_admin, request.admin_key)
        if request.name == FIRST_KEY_NAME and board.status.secrets_waiting:
            # Whoever has the claim code would get this key again, and it would be kept again.
            raise ApiKeyError(
                409, "SECRETS_WAITING", "Acknowledge the activation's secrets first; this key is of them."
            )
        await run_in_threadpool(api_keys.revoke, request.name)
        return {"revoked": request.name}


def _meaning(error: SealwrightError) -> tuple[int, str, str]:
    """Status, code and sentence of an error."""
    match error:
        case (
            ClaimError()
            | ApiKeyError()
            | AirGapError()
            | EvidenceError()
            | OrderError()
            | FlowError()
            | EngineError()
            | SiteError()
        ):
            return error.status, error.code, str(error)
        case DeniedError():
            return error.status, error.code, error.sentence
        case ServiceUnreachableError():
            return 502, BoxCode.SERVICE_UNREACHABLE, str(error)
        case VerificationError():
            return 502, error.code, str(error).removeprefix(f"{error.code}: ")
        case UsageError() | FormatError():
            return 400, "INVALID_REQUEST", str(error)
        case _:
            return 500, "BOX_FAILED", str(error)


def _problem(status: int, code: str, detail: str, mismatches: Sequence[dict[str, object]] = ()) -> JSONResponse:
    problem = Problem(
        type=f"urn:sealwright:problem:{code}",
        title=code,
        status=status,
        detail=detail,
        code=code,
        mismatches=list(mismatches),
    )
    return JSONResponse(problem.model_dump(mode="json"), status_code=status, media_type=PROBLEM_TYPE)
