"""The agent's endpoints for renewal and activation by file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from sealwright_appliance.activation import Activation, CustomerSecrets
from sealwright_appliance.air_gap import ActivationByFile, RenewalByFile, RenewalOutcome
from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.lease_keeper import LeaseKeeper
from sealwright_appliance.pending_requests import PendingRequests
from sealwright_policies.wire.air_gap import FILE_LIMIT, qr_text, request_file
from sealwright_policies.wire.encoding import Document
from sealwright_policies.wire.messages import EnrollmentProof, EnrollmentRequest

Code = Annotated[str, Field(max_length=64)]
ReplyFile = Annotated[str, Field(max_length=FILE_LIMIT)]


@dataclass(frozen=True, slots=True)
class ByFile:
    """What a box without a network is renewed and activated with."""

    renewal: RenewalByFile
    activation: ActivationByFile | None
    """None while the state volume is closed."""

    @classmethod
    def of(cls, keeper: LeaseKeeper, activation: Activation | None, directory: Path) -> ByFile:
        """Wire it."""
        pending = PendingRequests(directory)
        return cls(
            RenewalByFile(keeper, pending), ActivationByFile(activation, pending) if activation is not None else None
        )


class ClaimedRequest(Document):
    """``POST /activation/file/request``."""

    claim_code: Code
    activation_code: Code
    peer: Code


class ClaimedReply(Document):
    """``POST /activation/file/proof`` and ``/activation/file/reply``."""

    claim_code: Code
    reply: ReplyFile
    peer: Code


class AdministeredRequest(Document):
    """``POST /renewal/request``."""

    admin_key: Code


class RenewalRequestForms(Document):
    """One request in both its forms."""

    file: str
    """Content of the request file."""
    qr_text: str
    """Text of the QR code."""


class AdministeredReply(AdministeredRequest):
    """``POST /renewal/reply``."""

    reply: ReplyFile


def add_renewal_by_file(app: FastAPI, renewal: RenewalByFile, api_keys: ApiKeys) -> None:
    """Add the endpoints of an activated box; an administrator's key is wanted at each."""

    @app.post("/renewal/request")
    async def request(asked: AdministeredRequest) -> RenewalRequestForms:
        await run_in_threadpool(api_keys.require_admin, asked.admin_key)
        made = await run_in_threadpool(renewal.request)
        return RenewalRequestForms(file=request_file(made).decode("ascii"), qr_text=qr_text(made))

    @app.post("/renewal/reply")
    async def reply(asked: AdministeredReply) -> RenewalOutcome:
        await run_in_threadpool(api_keys.require_admin, asked.admin_key)
        return await run_in_threadpool(renewal.reply, asked.reply)


def add_activation_by_file(app: FastAPI, activation: ActivationByFile) -> None:
    """Add the endpoints of a box that waits for its activation; the claim code is wanted at each."""

    @app.post("/activation/file/request")
    async def request(asked: ClaimedRequest) -> Response:
        return _file(await run_in_threadpool(activation.request, asked.claim_code, asked.activation_code, asked.peer))

    @app.post("/activation/file/proof")
    async def proof(asked: ClaimedReply) -> Response:
        return _file(await run_in_threadpool(activation.proof, asked.claim_code, asked.reply, asked.peer))

    @app.post("/activation/file/reply")
    async def reply(asked: ClaimedReply) -> CustomerSecrets:
        return await run_in_threadpool(activation.reply, asked.claim_code, asked.reply, asked.peer)


def _file(request: EnrollmentRequest | EnrollmentProof) -> Response:
    return Response(request_file(request), media_type="application/json")
