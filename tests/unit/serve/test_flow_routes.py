"""What other boxes say at the gateway, before anybody believes them, on its way to the agent."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from sealwright_appliance.serve.adapters import Adapters
from sealwright_appliance.serve.app import create_app
from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.documents import Documents
from sealwright_appliance.serve.engine_room import EngineRoom
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.gateway_tls import GatewayTls
from sealwright_appliance.serve.requests import json_object
from sealwright_policies.flows.documents import FLOW_MESSAGE_LIMIT

UNWRITABLE = [r'{"nonce": "\ud800"}', r'{"\udfff": 1}', '{"nonce": NaN}', '{"nonce": [-Infinity]}', '{"nonce": 1e999}']


@asynccontextmanager
async def gateway(folder: Path, heard: list[bytes]) -> AsyncIterator[httpx.AsyncClient]:
    """With an agent that keeps what it hears, welcomes everybody and accepts no offer."""
    agent = FastAPI()

    @agent.post("/flows/hello")
    async def hello(request: Request) -> dict[str, str]:
        heard.append(await request.body())
        return {}

    @agent.post("/flows/offers")
    async def offers(request: Request) -> Response:
        heard.append(await request.body())
        return Response("{}", status_code=409, media_type="application/json")

    server = uvicorn.Server(uvicorn.Config(agent, uds=str(folder / "agent.sock"), log_level="error"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    box = Box(folder / "agent.sock")
    tls, documents = GatewayTls(folder / "certificate", folder / "key"), Documents(folder / "documents.sock")
    adapters = Adapters(folder / "adapters.sock", {})
    app = create_app(box, {}, EngineRoom(0, {}, box), documents=documents, adapters=adapters, tls=tls)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as client:
        yield client
    await box.close()
    server.should_exit = True
    await running


@pytest.mark.parametrize("body", UNWRITABLE)
def test_what_json_can_say_and_nothing_can_pass_on_is_a_strangers_mistake(short_tmp: Path, body: str) -> None:
    with pytest.raises(ApiError) as caught:
        json_object(body.encode())
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")

    async def run() -> None:
        heard: list[bytes] = []
        async with gateway(short_tmp, heard) as client:
            assert (await client.post("/flows/hello", content=body)).status_code == 400
        assert heard == []

    asyncio.run(run())


def test_an_offer_is_as_long_as_the_agent_takes_it_and_reaches_it_as_it_came(short_tmp: Path) -> None:
    async def run() -> None:
        heard: list[bytes] = []
        async with gateway(short_tmp, heard) as client:
            for size, status in ((FLOW_MESSAGE_LIMIT, 409), (FLOW_MESSAGE_LIMIT + 1, 413)):
                assert (await client.post("/flows/hello", content=json.dumps({"nonce": "n"}))).is_success
                offer = b'{"a": NaN}'.ljust(size)
                name = hashlib.sha256(b"n").hexdigest()
                assert (await client.post(f"/flows/offers/{name}", content=offer)).status_code == status
                assert (heard[-1] == offer) == (status == 409)

    asyncio.run(run())
