"""Budgets on the agent's socket: what the gateway may let out, and what the customer's administrator sees of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from sealwright_appliance.api_keys import ApiKeys, KeyName
from sealwright_appliance.outflow.box_outflow import STATES_LIMIT, BoxOutflow
from sealwright_appliance.outflow.key_states import KeyState, KeyStates
from sealwright_appliance.outflow.ledger import Asked, LedgerRow
from sealwright_policies.outflow import OutflowPolicy
from sealwright_policies.wire.encoding import Document, Identifier, parse_json

REQUESTS_AT_ONCE = 256
"""A list of texts counts as one request each."""


class AllowanceRequest(Document):
    """``POST /outflow/allowance``."""

    model: Identifier
    key: KeyName
    requests: Annotated[int, Field(ge=0, le=REQUESTS_AT_ONCE)]
    tokens: Annotated[int, Field(ge=0, le=2**32)]


class AllowanceReply(Document):
    """What the gateway may let out (:class:`.ledger.Grant`)."""

    requests: int
    tokens: int
    retry_after_s: int | None


class OutflowView(Document):
    """``GET /outflow``: policies, and what is used of the budgets in the windows of now."""

    at_s: int
    """The budgets' calendar."""
    policies: dict[str, OutflowPolicy]
    keys: list[KeyState]
    """Whose requests look like copying."""
    used: list[LedgerRow]
    """Of all keys together under an empty name."""


class ClearOrder(Document):
    """``POST /outflow/clear``."""

    key: KeyName
    admin_key: Annotated[str, Field(max_length=64)]


def add_outflow(app: FastAPI, outflow: BoxOutflow, api_keys: ApiKeys) -> None:
    """Add the routes."""

    @app.post("/outflow/allowance")
    async def allow(request: AllowanceRequest) -> AllowanceReply:
        asked = Asked(request.key, request.requests, request.tokens)
        given = await run_in_threadpool(outflow.allow, request.model, asked)
        return AllowanceReply(requests=given.requests, tokens=given.tokens, retry_after_s=given.retry_after_s)

    @app.get("/outflow")
    async def view() -> OutflowView:
        return await run_in_threadpool(_view, outflow)

    @app.get("/outflow/keys")
    async def states() -> KeyStates:
        return await run_in_threadpool(outflow.states)

    @app.post("/outflow/keys")
    async def count(request: Request) -> dict[str, int]:
        counted = parse_json(KeyStates, await request.body(), limit=STATES_LIMIT)
        await run_in_threadpool(outflow.count, counted.states)
        return {"counted": len(counted.states)}

    @app.post("/outflow/clear")
    async def clear(order: ClearOrder) -> dict[str, int]:
        await run_in_threadpool(api_keys.require_admin, order.admin_key)
        return {"cleared": await run_in_threadpool(outflow.clear, order.key)}


def _view(outflow: BoxOutflow) -> OutflowView:
    ledger = outflow.ledger()
    return OutflowView(
        keys=[one for one in outflow.states().states if one.level],
        at_s=ledger.at_s,
        policies={model: outflow.policy.of(model) for model in sorted(outflow.models)},
        used=outflow.used(),
    )
