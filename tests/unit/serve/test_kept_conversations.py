"""Conversations at a gateway whose agent keeps none: a clear answer, and nothing that hangs on it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from sealwright_testing.gateway_scene import AUTHORIZED, scene

BODY = {"title": "x", "turns": [{"role": "user", "model": "medical", "text": "x"}]}


def test_a_box_that_keeps_none_says_so(short_tmp: Path) -> None:
    """As before its activation: the agent has no such addresses."""

    async def run() -> list[httpx.Response]:
        async with scene(short_tmp) as s:
            return [
                await s.client.get("/conversations", headers=AUTHORIZED),
                await s.client.post("/conversations", json=BODY, headers=AUTHORIZED),
                await s.client.delete(f"/conversations/{'0' * 32}", headers=AUTHORIZED),
            ]

    for reply in asyncio.run(run()):
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "conversations_unavailable")


def test_without_a_key_nobody_asks_the_agent(short_tmp: Path) -> None:
    async def run() -> list[int]:
        async with scene(short_tmp) as s:
            methods = ("GET", "POST", "DELETE")
            return [(await s.client.request(method, "/conversations", json=BODY)).status_code for method in methods]

    assert asyncio.run(run()) == [401, 401, 401]
