"""API keys at the gateway: who makes, lists and revokes them, and from when a revoked one lets nobody in."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sealwright_appliance.serve.box import REMEMBER_S
from sealwright_testing.gateway_scene import ADMINISTRATOR, AUTHORIZED, scene


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
            assert (half.status_code, half.json()["error"]["code"]) == (400, "invalid_json")

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
