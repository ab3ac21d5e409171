"""The gateway's rules, seen by an HTTP client: keys, locked boxes, unknown models, queues, streams, limits.

The agent is a real server on a UNIX socket that says what the test wants said; the engine is a scripted one behind the
Engine protocol. The real ones meet the gateway in tests/integration/serve and tests/vm.
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
import pytest
import uvicorn
from fastapi import Body, FastAPI
from prometheus_client.parser import text_string_to_metric_families

from sealwright_appliance.serve.admission import Admission, QueuedEngine
from sealwright_appliance.serve.app import create_app
from sealwright_appliance.serve.box import REMEMBER_S, Box
from sealwright_appliance.serve.errors import ApiError, engine_unavailable
from sealwright_appliance.serve.meter import Tally
from sealwright_appliance.serve.quota import Allowance, Lacking, Quota
from sealwright_policies.outflow import OutflowPolicy, Reaction, ReleaseOutflow

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

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.cancelled = 0
        self.failure: ApiError | None = None

    async def ready(self) -> bool:
        await self.hold.wait()
        return self.failure is None

    async def chat(self, request: dict[str, Any], tally: Tally) -> bytes:
        self.asked.append(request)
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure:
            raise self.failure
        return json.dumps({"choices": []}).encode()

    async def stream_chat(self, request: dict[str, Any], tally: Tally) -> AsyncGenerator[bytes, None]:
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
    ) -> None:
        self.client = client
        self.admission = admission
        self.engine = engine
        self.said = said
        self.ring = ring

    async def chat(self, **change: Any) -> httpx.Response:
        return await self.client.post("/v1/chat/completions", json=HELLO | change, headers=AUTHORIZED)


def _new_key(name: Annotated[str, Body()], admin_key: Annotated[str, Body()]) -> dict[str, str]:
    return {"name": name, "api_key": "sw-new" if admin_key == ADMIN_KEY else ""}


class KeyRing:
    """What the agent says of its keys; an answer may be on its way while a key is revoked."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [
            {"name": "ward", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), "admin": False, "created": 1},
            {"name": "admin", "sha256": hashlib.sha256(ADMIN_KEY.encode()).hexdigest(), "admin": True, "created": 2},
        ]
        self.delays: list[asyncio.Event] = []
        """For the next answers."""
        self.revokes = asyncio.Event()
        self.revokes.set()

    async def all(self) -> dict[str, Any]:
        answer = {"keys": list(self.keys)}
        if self.delays:
            await self.delays.pop().wait()
        return answer

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
    **status: Any,
) -> AsyncIterator[Scene]:
    said = SERVING | status
    states: dict[str, Any] = {"version": 1, "states": list(keys_known)}
    agent = FastAPI()
    ring = KeyRing()
    agent.get("/status")(lambda: said)
    agent.get("/api-keys")(ring.all)
    agent.post("/api-keys")(_new_key)
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
    outflow = ReleaseOutflow(version=1, models={"medical": policy})
    app = create_app(box, {"medical": QueuedEngine(engine, admission, Quota(unlimited))}, outflow)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://box") as client:
        yield Scene(client, admission, engine, said, ring)
    await box.close()
    server.should_exit = True
    await running


@pytest.fixture
def short_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path leaves room for a socket name (108 bytes)."""
    return tmp_path_factory.mktemp("s")


def test_an_agent_that_closes_what_was_kept_open_is_asked_all_the_same(short_tmp: Path) -> None:
    """It closes idle connections after seconds; the gateway may be about to use one."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        kept = {b"/api-keys": b'{"keys": []}', b"/outflow": b"{}"}
        body = next((kept[path] for path in kept if path in asked), json.dumps(SERVING).encode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await reader.read(1)
        writer.close()

    async def run() -> None:
        async with await asyncio.start_unix_server(once, short_tmp / "agent.sock"):
            box = Box(short_tmp / "agent.sock")
            assert await box.status() == SERVING
            await box.close()

    asyncio.run(run())


def test_every_model_route_wants_a_key(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp) as s:
            assert (await s.client.get("/v1/models")).status_code == 401
            reply = await s.client.post("/v1/chat/completions", json=HELLO)
            assert reply.status_code == 401
            assert reply.json()["error"]["code"] == "invalid_api_key"
            assert s.engine.asked == []

    asyncio.run(run())


def test_a_key_that_looks_like_copying_is_refused_where_the_policy_says_so(short_tmp: Path) -> None:
    known = {
        "model": "medical",
        "key": "ward",
        "level": 2,
        "sign": "HARVEST",
        "harvest": 1e7,
        "requests": 9,
        "loops": 9,
    }

    async def run(policy: OutflowPolicy) -> int:
        async with scene(short_tmp, policy=policy, keys_known=[known]) as s:
            reply = await s.chat()
            if reply.status_code == 429:
                assert reply.json()["error"]["code"] == "rate_limit_exceeded"
                assert reply.headers["Retry-After"] == "3600"
                assert s.engine.asked == []
            return reply.status_code

    assert asyncio.run(run(OutflowPolicy())) == 429
    assert asyncio.run(run(OutflowPolicy(on_extraction=Reaction.ALERT))) == 200


def test_whole_replies_and_pieces_of_streams_have_round_sizes(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp, policy=OutflowPolicy(padding=256)) as s:
            whole = await s.chat()
            assert whole.json() == {"choices": []}
            assert len(whole.content) == 256
            events = (await s.chat(stream=True)).content
            assert len(events) == 2 * 256
            assert [line for line in events.split(b"\n") if line and not line.startswith(b":")] == [
                b"data: 1",
                b"data: [DONE]",
            ]

    asyncio.run(run())


def test_a_whole_reply_and_a_stream_pass_through(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp) as s:
            assert (await s.client.get("/v1/models", headers=AUTHORIZED)).json()["data"][0]["id"] == "medical"
            assert (await s.chat()).json() == {"choices": []}
            reply = await s.chat(stream=True)
            assert reply.headers["content-type"].startswith("text/event-stream")
            assert reply.content == b"data: 1\n\ndata: [DONE]\n\n"

    asyncio.run(run())


@pytest.mark.parametrize("state", ["locked", "ended", "waiting-for-activation"])
def test_a_box_without_a_lease_refuses_and_says_why(short_tmp: Path, state: str) -> None:
    async def run() -> None:
        async with scene(short_tmp, state=state, code="LEASE_EXPIRED", sentence="The lease ended.") as s:
            reply = await s.chat()
            assert reply.status_code == 503
            assert reply.json()["error"] == {
                "message": "The lease ended.",
                "type": "server_error",
                "param": None,
                "code": "LEASE_EXPIRED",
            }
            assert s.engine.asked == []

    asyncio.run(run())


def test_a_box_is_ready_when_a_model_answers_and_alive_all_the_time(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load balancer needs no key, and is told the box's own code."""
    monkeypatch.setattr("sealwright_appliance.serve.app.READY_S", 0.2)

    async def readiness(s: Scene) -> tuple[int, str | None]:
        assert (await s.client.get("/healthz")).json() == {"status": "ok"}
        reply = await s.client.get("/readyz")
        return reply.status_code, reply.json().get("error", {}).get("code")

    async def run() -> None:
        async with scene(short_tmp) as s:
            assert await readiness(s) == (200, None)
            s.engine.hold.clear()
            assert await readiness(s) == (503, "engine_unavailable")
            s.engine.hold.set()
            s.engine.failure = engine_unavailable()
            assert await readiness(s) == (503, "engine_unavailable")
        async with scene(short_tmp, state="locked", code="LEASE_EXPIRED") as s:
            assert await readiness(s) == (503, "LEASE_EXPIRED")
        async with scene(short_tmp, state="waiting-for-activation") as s:
            assert await readiness(s) == (503, "WAITING_FOR_ACTIVATION")

    asyncio.run(run())


def test_an_unknown_model_is_a_404_that_names_the_known(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp) as s:
            reply = await s.chat(model="gpt-x")
            assert reply.status_code == 404
            assert "medical" in reply.json()["error"]["message"]

    asyncio.run(run())


def test_a_full_queue_is_a_429_with_a_time(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp, active=1, waiting=1) as s:
            s.engine.hold.clear()
            first, second = (asyncio.create_task(s.chat()) for _ in range(2))
            while s.admission.inside < 2:
                await asyncio.sleep(0.01)
            third = await s.chat()
            assert third.status_code == 429
            assert int(third.headers["retry-after"]) > 0
            s.engine.hold.set()
            assert (await first).status_code == (await second).status_code == 200
            assert (await s.chat()).status_code == 200

    asyncio.run(run())


def test_engine_trouble_before_the_first_event_has_its_own_status(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp) as s:
            s.engine.failure = engine_unavailable()
            for stream in (False, True):
                reply = await s.chat(stream=stream)
                assert reply.status_code == 503
                assert reply.json()["error"]["code"] == "engine_unavailable"

    asyncio.run(run())


def test_a_body_over_the_limit_is_a_413(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp) as s:
            reply = await s.chat(user="x" * (1024 * 1024))
            assert reply.status_code == 413

    asyncio.run(run())


def test_only_an_administrator_makes_keys(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp) as s:
            path, name = "/admin/api-keys", {"name": "new"}
            assert (await s.client.post(path, json=name, headers=AUTHORIZED)).status_code == 403
            made = await s.client.post(path, json=name, headers=ADMINISTRATOR)
            assert made.json()["api_key"] == "sw-new"
            for wrong in ({"name": ""}, {"name": 1}, {"name": "x" * 65}, {"name": "x", "admin": "yes"}):
                assert (await s.client.post(path, json=wrong, headers=ADMINISTRATOR)).status_code == 400
            half = await s.client.post(path, content=r'{"name": "\ud800"}', headers=ADMINISTRATOR)
            assert (half.status_code, half.json()["error"]["param"]) == (400, "name")

    asyncio.run(run())


def test_only_an_administrator_lists_keys_and_nobody_sees_a_hash(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp) as s:
            assert (await s.client.get("/admin/api-keys")).status_code == 401
            assert (await s.client.get("/admin/api-keys", headers=AUTHORIZED)).status_code == 403
            listed = await s.client.get("/admin/api-keys", headers=ADMINISTRATOR)
            assert listed.json()["keys"] == [
                {"name": "ward", "admin": False, "created": 1},
                {"name": "admin", "admin": True, "created": 2},
            ]

    asyncio.run(run())


def test_only_an_administrator_revokes_keys(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp) as s:
            ward = {"name": "ward"}
            assert (await s.client.delete("/admin/api-keys", params=ward)).status_code == 401
            assert (await s.client.delete("/admin/api-keys", params=ward, headers=AUTHORIZED)).status_code == 403
            assert (await s.client.delete("/admin/api-keys", headers=ADMINISTRATOR)).status_code == 400
            assert (await s.chat()).status_code == 200

    asyncio.run(run())


def test_a_revoked_key_lets_nobody_in_from_then_on(short_tmp: Path) -> None:
    """Not even by an answer of the agent that was older and arrives later."""

    async def run() -> None:
        async with scene(short_tmp) as s:
            arrives = asyncio.Event()
            s.ring.delays.append(arrives)
            before = asyncio.create_task(s.chat())
            while s.ring.delays:
                await asyncio.sleep(0.01)
            revoked = await s.client.delete("/admin/api-keys", params={"name": "ward"}, headers=ADMINISTRATOR)
            assert revoked.json() == {"revoked": "ward"}
            assert (await s.chat()).status_code == 401
            arrives.set()
            assert (await before).status_code == 200
            assert (await s.chat()).status_code == 401

    asyncio.run(run())


def test_what_was_seen_while_a_key_was_revoked_is_forgotten(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp) as s:
            s.ring.revokes.clear()
            revocation = asyncio.create_task(
                s.client.delete("/admin/api-keys", params={"name": "ward"}, headers=ADMINISTRATOR)
            )
            await asyncio.sleep(REMEMBER_S + 0.2)
            assert (await s.chat()).status_code == 200
            s.ring.revokes.set()
            assert (await revocation).status_code == 200
            assert (await s.chat()).status_code == 401

    asyncio.run(run())


def test_pages_show_the_state_and_carry_strict_headers(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp, state="waiting-for-activation", sentence="<b>Waiting</b>.", lease=None) as s:
            page = await s.client.get("/")
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert "&lt;b&gt;Waiting" in page.text
            assert 'name="claim_code"' in page.text
            form = {"claim_code": "A", "activation_code": "B"}
            shown = await s.client.post("/activation", data=form)
            assert "sw-1" in shown.text
            assert shown.headers["cache-control"] == "no-store"

    asyncio.run(run())


def test_a_box_that_serves_still_asks_for_the_claim_while_secrets_wait(short_tmp: Path) -> None:
    async def run() -> None:
        for waiting in (True, False):
            async with scene(short_tmp, secrets_waiting=waiting) as s:
                page = (await s.client.get("/")).text
                assert ('name="claim_code"' in page) is waiting
                assert 'name="activation_code"' not in page

    asyncio.run(run())


BUDGET = {
    "warning": "LICENSE_ENDS", "level_days": 7, "left_s": 518_400, "sentence": "The licence ends in 6 days.",
    "license_left_s": 518_400, "budget_left_s": 3_600_000, "lease_left_s": 86_400,
}  # fmt: skip


def test_every_answer_of_the_api_warns_of_an_end_that_is_near(short_tmp: Path) -> None:
    """Errors too; nothing else does, and nothing does while no end is near."""

    async def run() -> None:
        async with scene(short_tmp, budget=BUDGET) as s:
            missing = await s.chat(model="missing")
            assert missing.status_code == 404
            for reply in (await s.chat(), await s.chat(stream=True), missing):
                assert reply.headers["sealwright-warning"] == "LICENSE_ENDS;level=7;left=518400"
            assert "sealwright-warning" not in (await s.client.get("/status")).headers
            assert "The licence ends in 6 days." in (await s.client.get("/")).text
        async with scene(short_tmp, budget=BUDGET | {"warning": None, "level_days": None, "left_s": None}) as s:
            assert "sealwright-warning" not in (await s.chat()).headers

    asyncio.run(run())


def test_metrics_are_for_administrators_and_hold_numbers_only(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp, budget=BUDGET) as s:
            assert (await s.client.get("/metrics")).status_code == 401
            assert (await s.client.get("/metrics", headers=AUTHORIZED)).status_code == 403
            reply = await s.client.get("/metrics", headers=ADMINISTRATOR)
            assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
            families = {family.name: family for family in text_string_to_metric_families(reply.text)}
            values = {name: family.samples[0].value for name, family in families.items()}
            assert values["sealwright_license_left_seconds"] == 518_400
            assert values["sealwright_warning_level_days"] == 7
            states = {one.labels["state"]: one.value for one in families["sealwright_box_state"].samples}
            assert {state for state, value in states.items() if value} == {"serving"}
        async with scene(short_tmp, state="locked", lease=None, budget=None) as s:
            reply = await s.client.get("/metrics", headers=ADMINISTRATOR)
            assert "left_seconds" not in reply.text

    asyncio.run(run())


def test_a_request_that_runs_when_serving_ends_is_finished(short_tmp: Path) -> None:
    """The end refuses the next one; the running one is the keeper's to wait for."""

    async def run() -> None:
        async with scene(short_tmp) as s:
            s.engine.hold.clear()
            running = asyncio.create_task(s.chat())
            while not s.engine.asked:
                await asyncio.sleep(0.01)
            s.said |= {"state": "ended", "code": "LEASE_EXPIRED", "sentence": "The lease has ended."}
            await asyncio.sleep(REMEMBER_S + 0.2)
            assert (await s.chat()).status_code == 503
            assert s.engine.cancelled == 0
            s.engine.hold.set()
            assert (await running).status_code == 200

    asyncio.run(run())


def test_unknown_addresses_are_errors_in_openai_shape(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp) as s:
            assert (await s.client.get("/nowhere")).json()["error"]["code"] == "not_found"
            assert (await s.client.get("/docs")).status_code == 404

    asyncio.run(run())
