"""The gateway between neighbours that say what a test wants said.

The agent is a real server on a UNIX socket; the engine is a scripted one behind the Engine protocol.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import uvicorn
from fastapi import Body, FastAPI

from sealwright_appliance.serve.adapters import Adapters
from sealwright_appliance.serve.admission import Admission
from sealwright_appliance.serve.app import create_app
from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.documents import Documents
from sealwright_appliance.serve.embedded import Embedded
from sealwright_appliance.serve.engine import Abilities
from sealwright_appliance.serve.engine_room import EngineRoom
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.meter import Tally
from sealwright_appliance.serve.queued_engine import QueuedEngine
from sealwright_appliance.serve.quota import Allowance, Lacking, Quota
from sealwright_policies.outflow import OutflowPolicy, ReleaseOutflow

KEY = "sw-" + "k" * 43
ADMIN_KEY = "sw-" + "a" * 43
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
ADMINISTRATOR = {"Authorization": f"Bearer {ADMIN_KEY}"}
HELLO = {"model": "medical", "messages": [{"role": "user", "content": "hello"}]}
SERVING = {
    "state": "serving",
    "code": None,
    "sentence": "Serving.",
    "since": 0,
    "device_id": "d" * 52,
    "release": {"product": "p", "version": "1.0", "release_id": "0" * 64},
    "payloads": [{"payload_id": "medical", "kind": "model", "domain": "medical", "state": "open", "code": None}],
    "budget": None,
    "lease": {"expires_at": 0, "number": 1, "warnings": [], "max_request_s": 60},
    "secrets_waiting": False,
    "extraction_alarms": 0,
}
AS_IT_IS = OutflowPolicy(padding=0)
LOOPING = {"requests": 9.0, "loops": 9.0}


class ScriptedEngine:
    """Counts what it is asked and answers as told."""

    model_id = "medical"
    context = 4096
    bpe = True

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.cancelled = 0
        self.failure: ApiError | None = None

    async def ready(self) -> bool:
        await self.hold.wait()
        return self.failure is None

    async def abilities(self) -> Abilities:
        return Abilities(tools=True, width=8, context=self.context, bpe=self.bpe)

    async def adapters(self) -> frozenset[str]:
        return frozenset()

    async def embed(self, request: dict[str, Any], tally: Tally) -> Embedded:
        self.asked.append(request)
        return Embedded([[0.5] * 8 for _ in request["input"]], 1)

    async def count(self, request: dict[str, Any], tally: Tally) -> int:
        self.asked.append(request)
        return 1

    async def whole(self, request: dict[str, Any], tally: Tally) -> bytes:
        self.asked.append(request)
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure:
            raise self.failure
        return json.dumps({"choices": []}).encode()

    async def stream(self, request: dict[str, Any], tally: Tally) -> AsyncGenerator[bytes, None]:
        self.asked.append(request)
        if self.failure:
            raise self.failure
        for part in (b"data: 1\n\n", b"data: [DONE]\n\n"):
            yield part


class Scene:
    """A gateway, its scripted neighbours and a client."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        admission: Admission,
        engine: ScriptedEngine,
        said: dict[str, Any],
        ring: KeyRing,
        queued: QueuedEngine,
    ) -> None:
        self.client = client
        self.admission = admission
        self.engine = engine
        self.said = said
        self.ring = ring
        self.queued = queued

    async def chat(self, **change: Any) -> httpx.Response:
        return await self.client.post("/v1/chat/completions", json=HELLO | change, headers=AUTHORIZED)


class KeyRing:
    """What the agent says of its keys; an answer may be on its way while a key is revoked."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [
            {"name": "ward", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), "admin": False, "created": 1},
            {"name": "admin", "sha256": hashlib.sha256(ADMIN_KEY.encode()).hexdigest(), "admin": True, "created": 2},
        ]
        self.asked: list[dict[str, Any]] = []
        """For new keys."""
        self.delays: list[asyncio.Event] = []
        """For the next answers."""
        self.revokes = asyncio.Event()
        self.revokes.set()

    async def all(self) -> dict[str, Any]:
        answer = {"keys": list(self.keys)}
        if self.delays:
            await self.delays.pop().wait()
        return answer

    async def make(self, asked: Annotated[dict[str, Any], Body()]) -> dict[str, str]:
        self.asked.append(asked)
        return {"name": asked["name"], "api_key": "sw-new" if asked["admin_key"] == ADMIN_KEY else ""}

    async def revoke(self, name: Annotated[str, Body()], admin_key: Annotated[str, Body()]) -> dict[str, str]:
        assert admin_key == ADMIN_KEY
        await self.revokes.wait()
        self.keys = [key for key in self.keys if key["name"] != name]
        return {"revoked": name}


async def unlimited(lacking: Lacking) -> Allowance:
    return Allowance(lacking.requests, lacking.tokens, None)


@asynccontextmanager
async def scene(
    directory: Path,
    *,
    active: int = 4,
    waiting: int = 4,
    policy: OutflowPolicy = AS_IT_IS,
    keys_known: Sequence[dict[str, Any]] = (),
    base: str = "medical",
    **status: Any,
) -> AsyncIterator[Scene]:
    said = SERVING | status
    states: dict[str, Any] = {"version": 1, "states": list(keys_known)}
    agent = FastAPI()
    ring = KeyRing()
    agent.get("/status")(lambda: said)
    agent.get("/engines")(lambda: {"running": ["medical"]})
    agent.get("/api-keys")(ring.all)
    agent.post("/api-keys")(ring.make)
    agent.delete("/api-keys")(ring.revoke)
    agent.get("/outflow/keys")(lambda: states)
    agent.post("/outflow/keys")(lambda: {"counted": 0})
    agent.post("/activation")(lambda: {"api_key": "sw-1", "customer_key_pem": "PEM", "recovery_key": "R"})
    server = uvicorn.Server(uvicorn.Config(agent, uds=str(directory / "agent.sock"), log_level="error"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    engine = ScriptedEngine()
    box = Box(directory / "agent.sock")
    admission = Admission(active=active, waiting=waiting)
    outflow = ReleaseOutflow(version=1, models={"medical": policy}, bases={"medical": base})
    room = EngineRoom(1, {"medical": 1}, box)
    engines = {"medical": QueuedEngine(engine, admission, Quota(unlimited), room)}
    own = Adapters(directory / "adapters.sock", {})
    app = create_app(box, engines, room, outflow, documents=Documents(directory / "documents.sock"), adapters=own)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://box") as client:
        yield Scene(client, admission, engine, said, ring, engines["medical"])
    await box.close()
    server.should_exit = True
    await running
