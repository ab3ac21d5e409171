"""The gateway's rules, seen by an HTTP client: keys, locked boxes, unknown models, queues, streams, limits.

The agent is a real server on a UNIX socket that says what the test wants said; the engine is a scripted one behind the
Engine protocol. The real ones meet the gateway in tests/integration/serve and tests/vm.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sealwright_appliance.serve.box import REMEMBER_S, Box
from sealwright_appliance.serve.errors import engine_unavailable
from sealwright_appliance.serve.meter import Meter, Tally
from sealwright_policies.outflow import OutflowPolicy, Reaction
from sealwright_testing.gateway_scene import ADMINISTRATOR, AUTHORIZED, HELLO, SERVING, Scene, scene


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

    async def run(policy: OutflowPolicy, base: str = "medical") -> int:
        async with scene(short_tmp, policy=policy, keys_known=[known | {"model": base}], base=base) as s:
            reply = await s.chat()
            if reply.status_code == 429:
                assert reply.json()["error"]["code"] == "rate_limit_exceeded"
                assert reply.headers["Retry-After"] == "3600"
                assert s.engine.asked == []
            return reply.status_code

    assert asyncio.run(run(OutflowPolicy())) == 429
    assert asyncio.run(run(OutflowPolicy(), base="model-of-the-adapter")) == 429  # an adapter is watched as its base
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
    monkeypatch.setattr("sealwright_appliance.serve.queued_engine.READY_S", 0.2)

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
            while s.admission.running + s.admission.waiting < 2:
                await asyncio.sleep(0.01)
            third = await s.chat()
            assert third.status_code == 429
            assert int(third.headers["retry-after"]) > 0
            s.engine.hold.set()
            assert (await first).status_code == (await second).status_code == 200
            assert (await s.chat()).status_code == 200

    asyncio.run(run())


def test_counting_for_a_request_that_is_being_made_waits_its_turn(short_tmp: Path) -> None:
    """And gives its place back: what comes of it needs one itself."""

    async def run() -> None:
        async with scene(short_tmp, active=1) as s:
            s.engine.hold.clear()
            chat = asyncio.create_task(s.chat())
            while not s.engine.asked:
                await asyncio.sleep(0.01)
            tally = Tally(Meter(), "medical", "ward")
            counts = [asyncio.create_task(s.queued.measure({"messages": []}, tally)) for _ in range(2)]
            while s.admission.waiting < len(counts):
                await asyncio.sleep(0.01)
            assert len(s.engine.asked) == 1
            s.engine.hold.set()
            assert (await chat).status_code == 200
            assert await asyncio.gather(*counts) == [1, 1]
            assert s.admission.running == 0

    asyncio.run(run())


def test_administrators_see_what_engines_and_queues_do(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp, active=1, waiting=1) as s:
            tasks = [asyncio.create_task(s.chat()) for _ in range(2)]
            s.engine.hold.clear()
            while s.admission.running + s.admission.waiting < 2:
                await asyncio.sleep(0.01)
            load = {"id": "medical", "ready": False, "running": 1, "places": 1, "waiting": 1, "presence": "loaded"}
            load |= {"memory_mib": 1, "loads": 0, "unloads": 0, "loading_s": 0.0, "adapters_of": None}
            assert (await s.client.get("/admin/load", headers=ADMINISTRATOR)).json() == {
                "models": [load],
                "memory_mib": 1,
            }
            s.engine.hold.set()
            await asyncio.gather(*tasks)
            load |= {"ready": True, "running": 0, "waiting": 0}
            assert (await s.client.get("/admin/load", headers=ADMINISTRATOR)).json() == {
                "models": [load],
                "memory_mib": 1,
            }
            text = (await s.client.get("/metrics", headers=ADMINISTRATOR)).text
            for name, value in (("model_ready", 1), ("replies_running", 0), ("requests_waiting", 0)):
                assert f'sealwright_{name}{{model="medical"}} {value}\n' in text
            for path in ("/admin/load", "/metrics"):
                assert (await s.client.get(path, headers=AUTHORIZED)).status_code == 403

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
