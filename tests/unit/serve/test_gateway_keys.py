"""API keys at the gateway: who makes, lists and revokes them, and from when a revoked one lets nobody in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from sealwright_appliance.serve.box import REMEMBER_S
from sealwright_testing.gateway_scene import ADMIN_KEY, ADMINISTRATOR, AUTHORIZED, scene


def test_only_an_administrator_makes_keys(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp) as s:
            path, name = "/admin/api-keys", {"name": "new"}
            assert (await s.client.post(path, json=name, headers=AUTHORIZED)).status_code == 403
            made = await s.client.post(path, json=name, headers=ADMINISTRATOR)
            assert made.json()["api_key"] == "sw-new"
            bounds = {"models": ["medical"], "expires": 2**33}
            assert (await s.client.post(path, json=name | bounds, headers=ADMINISTRATOR)).status_code == 200
            assert s.ring.asked[-1] == name | {"admin": False, "admin_key": ADMIN_KEY} | bounds
            refused: list[dict[str, Any]] = [
                {"name": ""}, {"name": 1}, {"name": "x" * 65}, {"name": "x", "admin": "yes"},
                name | {"models": "medical"}, name | {"models": []}, name | {"expires": "soon"},
                name | {"expires": True}, name | {"expires": 1.5},
                name | {"model": "medical"},
            ]  # fmt: skip
            for wrong in refused:
                assert (await s.client.post(path, json=wrong, headers=ADMINISTRATOR)).status_code == 400, wrong
            for models in (["other"], ["medical", 1], [None]):
                reply = await s.client.post(path, json=name | {"models": models}, headers=ADMINISTRATOR)
                assert reply.status_code == 404
            assert len(s.ring.asked) == 2
            half = await s.client.post(path, content=r'{"name": "\ud800"}', headers=ADMINISTRATOR)
            assert (half.status_code, half.json()["error"]["code"]) == (400, "invalid_json")

    asyncio.run(run())


def test_only_an_administrator_lists_keys_and_nobody_sees_a_hash(short_tmp: Path) -> None:
    async def run() -> None:
        async with scene(short_tmp) as s:
            assert (await s.client.get("/admin/api-keys")).status_code == 401
            assert (await s.client.get("/admin/api-keys", headers=AUTHORIZED)).status_code == 403
            listed = await s.client.get("/admin/api-keys", headers=ADMINISTRATOR)
            assert listed.json()["keys"] == [
                {"name": "ward", "admin": False, "created": 1, "models": None, "expires": None},
                {"name": "admin", "admin": True, "created": 2, "models": None, "expires": None},
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


def test_a_key_hears_of_its_models_alone_and_ends_in_its_time(short_tmp: Path) -> None:
    """The engine is not asked; what is refused says nothing of other models."""

    async def run() -> None:
        async with scene(short_tmp) as s:
            s.ring.keys[0]["models"] = ["finance"]
            refused = await s.chat()
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
            assert "medical" not in refused.text
            assert (await s.client.get("/v1/models", headers=AUTHORIZED)).json()["data"] == []
            assert (await s.client.get("/v1/models/medical", headers=AUTHORIZED)).status_code == 404
            assert s.engine.asked == []
            s.ring.keys[0] |= {"models": ["medical"], "expires": 2**33}
            await asyncio.sleep(REMEMBER_S + 0.2)
            assert (await s.chat()).status_code == 200
            assert len((await s.client.get("/v1/models", headers=AUTHORIZED)).json()["data"]) == 1
            s.ring.keys[0]["expires"] = 1_700_000_000
            await asyncio.sleep(REMEMBER_S + 0.2)
            assert (await s.chat()).status_code == 401
            assert (await s.client.get("/conversations", headers=AUTHORIZED)).status_code == 401

    asyncio.run(run())
