"""The addresses of the customer's adapters: ``/v1/adapters`` (docs/serving.md).

Whoever has a key sees the adapters that it may use; an administrator's is needed to have one trained or to delete one.
Nothing here gives out an adapter's numbers, a checkpoint or the examples.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, Request
from pydantic import Field

from sealwright_appliance.adapters.examples import BYTES_MOST
from sealwright_appliance.adapters.messages import KEYS_MOST, KeptAdapter
from sealwright_appliance.adapters.refusals import AdapterCode
from sealwright_appliance.serve.adapters import SEPARATOR, Adapters, refused
from sealwright_appliance.serve.gate import Gate
from sealwright_appliance.serve.keys import require_admin
from sealwright_appliance.serve.request_parts import ModelName, Part, parse_request
from sealwright_appliance.serve.requests import read_body

BODY_LIMIT = 2 * BYTES_MOST + 64 * 1024
"""Quotes and line feeds of the examples are two bytes each in JSON."""
AT_ONCE = 2
"""Bodies in memory."""
KeyName = Annotated[str, Field(min_length=1, max_length=64)]


class AdapterOrder(Part):
    """``POST /v1/adapters``."""

    model: ModelName
    name: Annotated[str, Field(max_length=64)]
    examples: str
    """JSONL: ``{"messages": [{"role", "content"}, …]}`` a line."""
    keys: Annotated[list[KeyName], Field(max_length=KEYS_MOST)] | None = None
    """Names of the API keys that may use it besides administrators'; all, if there is no such member."""


def parse_adapter_order(body: bytes) -> AdapterOrder:
    """Parse a request body.

    Raises:
        ApiError: 400 with the parameter that is wrong, or that this API does not take.
    """
    return parse_request(AdapterOrder, body)


def add_adapter_routes(app: FastAPI, gate: Gate, adapters: Adapters) -> None:
    """Add them."""
    bodies = asyncio.Semaphore(AT_ONCE)

    @app.get("/v1/adapters")
    async def listed(request: Request) -> dict[str, Any]:
        key = await gate.key(request)
        data = [described(one) for one in await adapters.seen_by(key)]
        return {"object": "list", "data": data, "models": sorted(adapters.members), "may_change": key.admin}

    @app.post("/v1/adapters")
    async def train(request: Request) -> dict[str, Any]:
        require_admin(await gate.key(request))
        async with bodies:
            asked = parse_adapter_order(await read_body(request, BODY_LIMIT))
            examples = asked.examples.encode()
            if len(examples) > BYTES_MOST:
                raise refused(AdapterCode.TOO_LARGE)
            return described(await adapters.add(asked.model, asked.name, asked.keys, examples))

    @app.get("/v1/adapters/{adapter_id}")
    async def one(request: Request, adapter_id: str) -> dict[str, Any]:
        return described(await adapters.one(adapter_id, await gate.key(request)))

    @app.delete("/v1/adapters/{adapter_id}")
    async def delete(request: Request, adapter_id: str) -> dict[str, Any]:
        key = await gate.key(request)
        require_admin(key)
        found = await adapters.one(adapter_id, key)
        await adapters.delete(adapter_id)
        gate.forget_adapters(found.member)
        return {"id": adapter_id, "object": "adapter", "deleted": True}


def described(one: KeptAdapter) -> dict[str, Any]:
    """What a client sees of an adapter."""
    return {
        "id": one.adapter_id,
        "object": "adapter",
        "model": one.model,
        "name": one.name,
        "served_as": f"{one.model}{SEPARATOR}{one.name}",
        "created_at": one.created,
        "expires_at": one.expires,
        "left_s": one.left_s,
        "status": one.state,
        "progress": one.percent,
        "examples": one.examples,
        "keys": one.keys,
        "evaluation": {"loss_before": one.loss_before, "loss_after": one.loss_after},
        "failure": one.failure,
    }
